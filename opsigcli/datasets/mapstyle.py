"""Map-style datasets of ``(input, target)``: read in order, checked, and kept as arrays when they fit memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opsigcli.datasets import base
from opsigcli.datasets.arrays import array_reader, as_array
from opsigcli.datasets.listing import Listing, are_tokens, beside_tokens, listing_of
from opsigcli.datasets.parts import PAIR, TARGETS, Parts
from opsigcli.datasets.picture_files import keep_pictures_harmless
from opsigcli.datasets.pictures import Pictures
from opsigcli.datasets.ragged import filled_up, levelled
from opsigcli.datasets.readers import ArrayReader, Reader
from opsigcli.datasets.weights import checked_weights
from opsigcli.errors import DatasetError
from opsigcli.examples import BESIDE
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints


class Item(NamedTuple):
    """One example as arrays."""

    input: NDArray[Any]  # uint8 (C, H, W), float32, or tokens int64 (L,)
    target: NDArray[Any]
    beside: dict[str, NDArray[Any]]  # of the tokens, by name in ``BESIDE``
    unread: tuple[str, ...] = ()  # what else is said of them


class MapReader:
    """Inputs of a map-style dataset, read one by one each time; rows of tokens are filled up with ``pad``."""

    def __init__(
        self, dataset: Any, where: str, pictures: Pictures, parts: Parts = PAIR, pad: int = 0
    ) -> None:
        self.dataset = dataset
        self.pad = pad
        self.parts = parts
        self.where = where
        self.pictures = pictures
        keep_pictures_harmless()
        first = self.item(0).input
        self.shape = tuple(first.shape)  # of tokens, as long as the longest that was read
        self.dtype: np.dtype[Any] = first.dtype
        self.tokens = first.dtype == np.int64 and first.ndim == 1

    def item(self, row: int) -> Item:
        """One example; an input that is a mapping has its tokens under ``input_ids``.

        Raises:
            DatasetError: the dataset fails, or gives something else.
        """
        what = f"example {row} of {self.where}"
        with guarded(DatasetError, f"reading {what}"):
            found = self.dataset[row]
        given, target = self.parts.of(found, what)
        beside: dict[str, NDArray[Any]] = {}
        unread: tuple[str, ...] = ()
        if isinstance(given, Mapping) and "input_ids" in given:
            with guarded(DatasetError, f"converting the input of {what}"):
                beside = {name: as_array(given[name]) for name in BESIDE if name in given}
            unread = tuple(str(name) for name in given if name not in (*BESIDE, "input_ids", *TARGETS))
            given = given["input_ids"]
        return Item(self._input(given, what), _target(target, what), beside, unread)

    def read(self, rows: Ints) -> NDArray[Any]:
        """The inputs at ``rows``, (B, *shape)."""
        if self.tokens:
            return filled_up([self.checked(int(row)).input for row in rows], self.pad, self.shape[0])
        out = np.empty((len(rows), *self.shape), dtype=self.dtype)
        for place, row in enumerate(rows):
            out[place] = self.checked(int(row)).input
        return out

    def checked(self, row: int) -> Item:
        """One example, whose input has the shape and kind of the first; tokens have their own length.

        Raises:
            DatasetError: it has another shape or kind.
        """
        item = self.item(row)
        found = item.input
        if self.tokens and found.ndim == 1 and found.dtype == self.dtype:
            self.shape = (max(self.shape[0], len(found)),)
            return item
        if found.shape != self.shape or found.dtype != self.dtype:
            raise DatasetError(
                f"expected inputs of one shape in {self.where}; example 0 is {self.dtype} {self.shape}, "
                f"example {row} is {found.dtype} {found.shape}",
                "let the dataset return tokens as whole numbers (L,) in every example"
                if self.tokens
                else "add size= (and mode=RGB) for pictures, or let the dataset return one shape",
            )
        return item

    def identity(self, rows: Ints) -> bytes:
        """Digest of the inputs themselves, read once more."""
        digest = hashlib.sha256(str(self.dtype).encode())
        for row in rows:
            digest.update(self.item(int(row)).input.tobytes())
        return digest.digest()

    def _input(self, found: Any, what: str) -> NDArray[Any]:
        with guarded(DatasetError, f"converting the input of {what}"):
            if hasattr(found, "convert") and hasattr(found, "getbands"):  # a PIL image
                return self.pictures.pixels(found, what)
            is_tensor = hasattr(found, "detach")
            array: NDArray[Any] = as_array(found)
        if is_tensor and array.dtype == np.uint8 and array.ndim == 3:
            array = array.transpose(1, 2, 0)  # image tensors have their channels first
        reader = array_reader(array[None], what, self.pictures, tokens=are_tokens(array[None]))
        one: NDArray[Any] = reader.read(np.zeros(1, dtype=np.int64))[0]
        return one


def collect(
    dataset: Any, where: str, pictures: Pictures, parts: Parts = PAIR, pad: int | None = None
) -> tuple[Listing, Reader]:
    """Read a map-style dataset once, in order.

    Args:
        dataset: has ``len`` and ``[i]``; a ``classes`` attribute names the classes, ``weights`` (N,) are those of the
            examples in the mean loss.
        where: the spec, for messages.
        pictures: what is done to PIL images and uint8 arrays.
        parts: which parts of an example are its input and its target.
        pad: the token that rows of tokens are filled up with; None = any, as models are not to read it.

    Returns:
        The listing, and a reader of the inputs: of arrays where they fit memory, else of the dataset itself.

    Raises:
        DatasetError: it is no such dataset, is empty, fails, or reads differently twice.
    """
    count = _length(dataset, where)
    reader = MapReader(dataset, where, pictures, parts, pad or 0)
    refuse_randomness(reader, count)
    size = int(np.prod(reader.shape, dtype=np.int64)) * reader.dtype.itemsize
    fits = not reader.tokens and count * size <= base.MEMORY_BUDGET
    kept = np.empty((count, *reader.shape), dtype=reader.dtype) if fits else None
    rows: list[NDArray[Any]] = []  # of tokens, as long as they fit
    lengths = np.ones(count, dtype=np.int64)
    total = 0
    targets: list[NDArray[Any]] = []
    beside: dict[str, list[NDArray[Any]]] = {}
    unread: dict[str, None] = {}
    for row in range(count):
        item = reader.checked(row)
        if kept is not None:
            kept[row] = item.input
        elif reader.tokens:
            lengths[row] = len(item.input)
            total += item.input.nbytes
            if total <= base.MEMORY_BUDGET:
                rows.append(item.input)
        targets.append(item.target)
        unread |= dict.fromkeys(item.unread)
        for name, values in item.beside.items():
            beside.setdefault(name, []).append(values)
    level = levelled(lengths if reader.tokens else None, targets, beside, where)
    tokens = reader.tokens and level.targets.dtype.kind in "iu" and level.targets.shape[1:] == reader.shape
    listing = listing_of(level.targets, where, classes=class_names(dataset), tokens=tokens)
    listing = replace(
        listing,
        beside=beside_tokens(level.beside, np.empty((count, *reader.shape), dtype=np.int64), where),
        unread=tuple(unread),
        filled=level.filled and pad is None,
    )
    own = getattr(dataset, "weights", None)
    if own is not None and not callable(own):
        with guarded(DatasetError, f"converting the weights of {where}"):
            weights = as_array(own)
        listing = replace(listing, weights=checked_weights(weights, count, where))
    if reader.tokens and total <= base.MEMORY_BUDGET:
        kept = filled_up(rows, reader.pad)
    return listing, reader if kept is None else ArrayReader(kept)


def refuse_randomness(reader: MapReader, count: int) -> None:
    """Read the first examples twice.

    Raises:
        DatasetError: two reads of an example differ, as under random augmentation.
    """
    for row in range(min(count, base.READ_TWICE)):
        first, second = reader.item(row), reader.item(row)
        if np.array_equal(first.input, second.input, equal_nan=True) and np.array_equal(
            first.target, second.target, equal_nan=True
        ):
            continue
        raise DatasetError(
            f"expected the same example at every read; two reads of example {row} of {reader.where} differ",
            "use evaluation transforms: no augmentation, no shuffling",
        )


def class_names(dataset: Any) -> tuple[str, ...]:
    """The dataset's ``classes`` if these are strings, else ()."""
    names = getattr(dataset, "classes", None)
    fits = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if fits and names is not None else ()


def _length(dataset: Any, where: str) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DatasetError(
            f"expected {where} to give a map-style dataset, with len(dataset) and dataset[i]; "
            f"found {type(dataset).__name__}",
            "return a torch.utils.data.Dataset, not a DataLoader or an iterable",
        )
    with guarded(DatasetError, f"taking the length of {where}"):
        count = len(dataset)
    if count == 0:
        raise DatasetError(f"expected examples in {where}, found none")
    return count


def _target(found: Any, what: str) -> NDArray[Any]:
    with guarded(DatasetError, f"converting the target of {what}"):
        array = as_array(found)
    if array.dtype.kind not in "iubf":
        raise DatasetError(
            f"expected the target of {what} to be a class index or numbers; found {type(found).__name__}",
            "return the class as an int",
        )
    return array

"""What a source lists before any input is decoded: ids, labels, names; and which of them are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import DatasetError
from opsigcli.examples import BESIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints


@dataclass(frozen=True)
class Listing:
    """All examples of a source, one row each, in the source's own order."""

    ids: Ints  # (N,)
    labels: Ints  # (N,) class indices; 0 where targets are numbers
    targets: Ints | Floats  # (N, …) the labels, or float32 regression targets
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    weights: Floats | None = None  # (N,) of each example in the mean loss; None = all alike
    beside: Mapping[str, Ints] = field(default_factory=dict)  # (N, L) by name in ``BESIDE``, of tokens
    unread: tuple[str, ...] = ()  # as in ``ExampleSource``
    filled: bool = False
    outputs: int = 0  # that a model has, where that is said; 0 = as many as are named or occur

    @property
    def labelled(self) -> bool:
        """Whether each example has one class."""
        one = self.targets.shape == self.labels.shape or one_each(self.targets) is not None
        return one and (self.targets.dtype.kind == "i" or self.targets.ndim > 1)

    def take(self, rows: Ints) -> Listing:
        """The listing of some rows."""
        names = tuple(self.names[row] for row in rows) if self.names else ()
        weights = None if self.weights is None else self.weights[rows]
        beside = {name: values[rows] for name, values in self.beside.items()}
        return replace(
            self,
            ids=self.ids[rows],
            labels=self.labels[rows],
            targets=self.targets[rows],
            names=names,
            weights=weights,
            beside=beside,
        )


def listing_of(
    y: NDArray[Any],
    where: str,
    *,
    classes: Sequence[str] = (),
    ids: NDArray[Any] | None = None,
    tokens: bool = False,
) -> Listing:
    """The listing for targets ``y``: integers (N,) are class labels, integers (N, …) maps of labels (of pixels),
    floats (N, …) regression targets, and integers (N, L) the tokens that follow those of the inputs, where ``tokens``
    says so.

    A column (N, 1) and one-hot rows (N, C) are labels too, whose targets stay as they are. With other targets of
    several entries every label is 0, so that groups are not told apart by class.

    Raises:
        DatasetError: ``y`` is neither, a label has no class name, a target is not finite,
            or ids are not unique whole numbers.
    """
    if len(y) == 0:
        raise DatasetError(f"expected examples in {where}, found none")
    names = tuple(str(name) for name in classes)
    if y.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(axis=1))
        if bad.size:
            raise DatasetError(
                f"expected finite targets in {where}; that of row {bad[0]} is not",
                "leave that example out; or, where NaN marks a label that is missing, save a number in its place "
                "(np.nan_to_num(y, nan=-1)) that a loss of your own leaves out (man opsig-losses)",
            )
        own = one_each(y) if y.ndim == 2 and y.shape[1] > 1 else None
        labels: Ints = np.zeros(len(y), dtype=np.int64) if own is None else own
        return Listing(_unique(ids, len(y), where), labels, y.astype(np.float32), names)
    if tokens:
        none: Ints = np.zeros(len(y), dtype=np.int64)
        return Listing(_unique(ids, len(y), where), none, y.astype(np.int64), names)
    labels = _labels(y, where)
    if y.ndim > 1 and (own := one_each(labels)) is not None:
        listing = listing_of(own, where, classes=classes, ids=ids)
        return replace(listing, targets=labels)
    # Which label is void, and how many classes there are, is for loss and model to say.
    if y.ndim > 1:
        return Listing(_unique(ids, len(y), where), np.zeros(len(y), dtype=np.int64), labels, names)
    if names and int(labels.max()) >= len(names):
        row = int(np.argmax(labels))
        raise DatasetError(
            f"expected labels from 0 to {len(names) - 1} in {where} ({len(names)} classes); "
            f"row {row} has label {labels[row]}",
            "check the labels and the class names",
        )
    return Listing(_unique(ids, len(y), where), labels, labels, names)


def one_each(y: NDArray[Any]) -> Ints | None:
    """The labels (N,) of a column (N, 1), or of rows (N, C) with one 1 and 0 elsewhere; None where ``y`` is neither."""
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
        return y.argmax(axis=1).astype(np.int64) if one_hot else None
    return y.reshape(-1).astype(np.int64) if y.size == len(y) else None


def spread(labels: Ints, limit: int | None) -> Ints:
    """Rows of at most ``limit`` examples, as evenly over the classes as they last, first of each class first.

    Returns:
        (min(N, limit),) rows in the source's order.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    by_class = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)  # 0 for the first of a class, 1 for its second …
    rank[by_class] = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    return np.sort(np.lexsort((labels, rank))[:limit]).astype(np.int64)


def _labels(y: NDArray[Any], where: str) -> Ints:
    if y.dtype.kind not in "iub":
        raise DatasetError(
            f"expected labels in {where} to be integers (classes) or floats (regression); found {y.dtype}",
            "store class indices, and the class names under 'classes'" if y.dtype.kind in "US" else "",
        )
    y = y.astype(np.uint8) if y.dtype.kind == "b" else y
    if y.dtype == np.uint64 and (y > np.iinfo(np.int64).max).any():
        raise DatasetError(
            f"expected labels in {where} below 2^63; found {y.max()}", "number the classes from 0"
        )
    return y.astype(np.int64)


def _unique(ids: NDArray[Any] | None, count: int, where: str) -> Ints:
    if ids is None:
        return np.arange(count, dtype=np.int64)
    if ids.dtype.kind not in "iu" or ids.shape != (count,) or (ids < 0).any():
        raise DatasetError(
            f"expected ids in {where} to be {count} whole numbers of at least 0; "
            f"found {ids.dtype} of shape {ids.shape}"
            + (f" with {ids.min()}" if ids.dtype.kind == "i" and ids.size else "")
        )
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < count:
        raise DatasetError(
            f"expected unique ids in {where}; id {values[counts > 1][0]} occurs {counts.max()} times",
            "give every example a number of its own, or leave ids out",
        )
    if int(values[-1]) > np.iinfo(np.int64).max:
        raise DatasetError(f"expected ids in {where} below 2^63; found {values[-1]}")
    return ids.astype(np.int64)


def are_tokens(inputs: NDArray[Any]) -> bool:
    """Whether the inputs (N, L) of examples are sequences of tokens: whole numbers, but for bytes."""
    return inputs.dtype.kind in "iu" and inputs.dtype != np.uint8 and inputs.ndim == 2


def follow(inputs: NDArray[Any], targets: NDArray[Any]) -> bool:
    """Whether targets are tokens of the inputs' own places: whole numbers (N, L) both."""
    return are_tokens(inputs) and targets.dtype.kind in "iu" and inputs.shape == targets.shape


def beside_tokens(found: Mapping[str, NDArray[Any]], tokens: NDArray[Any], where: str) -> dict[str, Ints]:
    """Those of the arrays that say something of tokens (N, L), by name in ``BESIDE``.

    Raises:
        DatasetError: one has another shape than the tokens, or other numbers than it may have.
    """
    beside: dict[str, Ints] = {}
    for name in BESIDE:
        values = found.get(name)
        if values is None or not are_tokens(tokens):
            continue
        most = 1 if name.endswith("attention_mask") else np.iinfo(np.int32).max
        shape = values.shape if name.startswith("decoder_") and values.ndim == 2 else tokens.shape
        fits = values.shape == shape and len(values) == len(tokens) and values.dtype.kind in "iub"
        if not fits or (values < 0).any() or (values > most).any():
            raise DatasetError(
                f"expected {name} in {where} to be whole numbers {'0 and 1' if most == 1 else 'of at least 0'} of "
                f"shape {shape}, one for each token; found {values.dtype} of shape {values.shape}",
                f"save {name} as the tokenizer gives it, padded to one length",
            )
        beside[name] = values.astype(np.int64)
    return beside

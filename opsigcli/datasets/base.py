"""The source of examples: a listing, a reader of raw inputs, and what is done to the inputs, with its constants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.class_order import absolute_classes, relabelled
from opsigcli.datasets.constants import channel_constants, own_constants_removed
from opsigcli.datasets.drawn import drawn
from opsigcli.datasets.listing import Listing, spread
from opsigcli.datasets.pictures import Pictures, picture_of
from opsigcli.datasets.readers import ArrayReader, Reader
from opsigcli.datasets.shift import shifted
from opsigcli.datasets.token_options import TokenOptions
from opsigcli.datasets.transforms import prepared_by
from opsigcli.datasets.weights import read_weights
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED, OWN_MEANS, ExampleSource
from opsigcli.query import choice, flag, integer, numbers
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path, absolute_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from opsigcli.records import Bytes, Floats, Ints

MEMORY_BUDGET = 2 << 30  # bytes of raw inputs that are decoded once and kept; more are decoded at every read
READ_TWICE = 16  # first examples that are read a second time: augmentation shows as a difference
SMALLEST = 1e-37  # that 32 bits hold in full
BLOCK = 1024  # inputs per pass over the data

# Options of every source of images or arrays.
COMMON = (
    "limit", "weights", "standardize", "mean", "std", "channels", "size", "crop", "interpolation", "transform",
    "shift", "classes", "per", "tokenizer",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The options that all sources share.

    ``limit=N`` takes at most N examples, spread evenly over the classes. ``standardize=channel`` subtracts the
    mean of each channel (the first axis of an input) over the examples taken and divides by its standard deviation
    (by 1 where that is 0); ``=image`` does so with each input's own, ``=colour`` takes away each input's mean of each
    channel; ``mean=…&std=…`` gives the constants of each channel. ``transform=…`` says all of this in one word.
    ``channels=bgr`` turns the order of the three channels round, before the constants, which are then in the new order.
    ``weights=FILE.npy`` gives one weight per example of the whole source, in its order, in the mean loss.
    ``classes=natural``, ``classes=cat,dog`` or ``classes=FILE.txt`` says which number each class name has, and
    ``classes=10`` how many there are where they have no names.
    ``shift=true`` says that labels of tokens stand beside their own tokens, and are to be shifted by one.
    ``per=token`` makes each labelled token an example, ``limit`` of them, ``tokenizer=PATH`` says what they stand for.
    """

    limit: int | None
    standardize: str  # none, channel, image, colour
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pictures: Pictures
    weights: str = ""  # path
    reverse: bool = False  # the channels
    shift: bool | None = None
    classes: bool = False  # their order is given
    tokens: TokenOptions | None = None

    @classmethod
    def of(cls, spec: Spec, mode: str | None = None) -> Settings:
        """Read the options from a spec.

        Raises:
            UsageError: an option has a wrong value, or two contradict one another.
            DatasetError: the code or library that ``transform=`` names fails, or is not there.
        """
        tokens, prepared = TokenOptions.of(spec), prepared_by(spec, mode)
        limit = integer(spec, "limit", None) if tokens is None else None
        weights = str(spec.options.get("weights", ""))
        reverse = choice(spec, "channels", "rgb", ("rgb", "bgr")) == "bgr"
        shift = flag(spec, "shift", False) if "shift" in spec.options else None
        more = (weights, reverse, shift, "classes" in spec.options, tokens)
        if prepared:
            return cls(limit, "none", prepared.mean, prepared.std, prepared.pictures, *more)
        mean, std = numbers(spec, "mean", ()), numbers(spec, "std", ())
        standardize = choice(spec, "standardize", "none", ("none", "channel", "image", "colour"))
        if bool(mean) != bool(std):
            raise UsageError(f"in {str(spec)!r}: expected mean= and std= together", "give both")
        if mean and standardize != "none":
            raise UsageError(
                f"in {str(spec)!r}: mean= and std= contradict standardize={standardize}", "give one of them"
            )
        if any(value < SMALLEST for value in std):
            raise UsageError(f"in {str(spec)!r}: expected std= above 0, of at least {SMALLEST}")
        return cls(limit, standardize, mean, std, Pictures.of(spec, mode), *more)


class Source(ExampleSource):
    """Examples in a fixed order, as ``opsigcli.examples.ExampleSource`` describes them.

    uint8 images become float32 in [0, 1]; float inputs are used as they are. ``transform`` holds everything that is
    done to the inputs, with its constants. ``fingerprint`` is the sha256 over ids, labels, targets, class names,
    ``transform`` and the decoded inputs; for image files that exceed ``MEMORY_BUDGET``, over their relative names and
    sizes instead. It does not depend on where the data lie.

    Args:
        spec: opens this source again.
        listing: all examples of the full source.
        reader: their raw inputs.
        settings: which to take, and what to do with the inputs.

    Raises:
        DatasetError: an input cannot be read, is not finite or has no numbers; labels are the tokens beside them.
        UsageError: ``mean=`` or ``std=`` do not fit the channels, or ``shift=`` the labels.
    """

    def __init__(self, spec: Spec, listing: Listing, reader: Reader, settings: Settings) -> None:
        spec = absolute_classes(spec)
        if settings.classes:
            listing = relabelled(listing, spec)
        if settings.weights:
            path = absolute_path(settings.weights)
            listing = replace(listing, weights=read_weights(path, len(listing.ids)))
            spec = replace(spec, options=spec.options | {"weights": path})
        rows = spread(listing.labels, settings.limit)
        taken = listing.take(rows)
        self.spec = absolute_spec(str(spec))
        self.ids, self.labels, self._targets = taken.ids, taken.labels, taken.targets
        self.classes, self.names, self.weights = taken.classes, taken.names, taken.weights
        self.beside, self.unread, self.filled = taken.beside, taken.unread, taken.filled
        self.input_shape, self._outputs = reader.shape, taken.outputs
        if settings.reverse and reader.shape[:1] != (3,):
            raise UsageError(f"in {self.spec!r}: channels=bgr is for inputs (3, …); they are {reader.shape}")
        self._reverse, self._pictures = settings.reverse, settings.pictures
        if settings.standardize == "colour" and len(reader.shape) < 2:
            raise UsageError(
                f"in {self.spec!r}: standardize=colour is for pictures; inputs are {reader.shape}"
            )
        if 0 in reader.shape:
            raise DatasetError(
                f"expected inputs with numbers in them in {self.spec}, found inputs of shape {reader.shape}"
            )
        if settings.pictures.code:
            self._refuse_randomness(reader, rows[:READ_TWICE])
        needed = len(self) * int(np.prod(reader.shape, dtype=np.int64)) * reader.dtype.itemsize
        if needed <= MEMORY_BUDGET:
            reader, rows = ArrayReader(reader.read(rows)), np.arange(len(rows), dtype=np.int64)
        self._reader: Reader = reader
        self._rows = rows
        self._targets = shifted(self._targets, reader, self._rows, settings.shift, spec)
        self._check_finite()
        self.tokens = settings.tokens
        self._own = settings.standardize if settings.standardize in OWN_MEANS else ""
        self.transform = self._resolve(settings)
        self.fingerprint = self._fingerprint()

    def read(self, positions: Ints) -> Floats | Ints:
        """The inputs at ``positions``: (B, *input_shape) float32, or int64 where they are tokens."""
        return self._prepared(self._ordered(np.asarray(positions, dtype=np.int64)))

    def input_of(self, picture: Image, where: str) -> Floats:
        """A picture that is none of the examples, as the model is given those: (1, *input_shape).

        Raises:
            DatasetError: the data are no pictures, or hold numbers whose scale is not known.
        """
        raw = drawn(picture, self._pictures, self.input_shape, self._reader.dtype, where)[None]
        found: Floats = self._prepared(np.ascontiguousarray(raw[:, ::-1]) if self._reverse else raw)
        return found

    def _prepared(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Raw inputs as the model is given them."""
        if raw.dtype == np.int64:  # tokens
            return raw
        inputs: NDArray[np.float32] = raw.astype(np.float32)
        if raw.dtype == np.uint8:
            inputs /= np.float32(255)
        if self._own:
            inputs = own_constants_removed(inputs, self._own)
        if self.normalisation is not None:
            mean, std = self.normalisation
            inputs -= mean
            inputs /= std
        return inputs

    def read_targets(self, positions: Ints) -> Floats | Ints:
        """Labels (B,) or tokens (B, L) int64, or regression targets (B, …) float32."""
        return self._targets[positions]

    @property
    def outputs(self) -> int:
        """Entries of a regression target; else classes or tokens, as many as are named, occur or are said."""
        if self._targets.dtype.kind == "f":
            return int(np.prod(self._targets.shape[1:], dtype=np.int64))
        return max(len(self.classes), int(self._targets.max()) + 1, self._outputs)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) False where every label of an example is ``IGNORED``."""
        if self._targets.dtype.kind == "f":
            return np.ones(len(self), dtype=bool)
        found: NDArray[np.bool_] = (self._targets != IGNORED).reshape(len(self), -1).any(axis=1)
        return found

    def pixels(self, positions: Ints) -> Bytes | None:
        """The inputs as they are kept, (B, C, H, W) uint8, where ``normalisation`` makes ``read`` of them."""
        if self._reader.dtype != np.uint8 or self._own:
            return None
        found: Bytes = self._ordered(np.asarray(positions, dtype=np.int64))
        return found

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it: (H, W, 3) uint8, or None when it is no image."""
        return picture_of(self._raw(np.array([position], dtype=np.int64))[0])

    def _ordered(self, positions: Ints) -> NDArray[Any]:
        """Raw inputs with the channels in the order that the model is given."""
        raw = self._raw(positions)
        return np.ascontiguousarray(raw[:, ::-1]) if self._reverse else raw

    def _raw(self, positions: Ints) -> NDArray[Any]:
        return self._reader.read(self._rows[positions])

    def _blocks(self) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), BLOCK):
            yield self._reader.read(self._rows[start : start + BLOCK])

    def _refuse_randomness(self, reader: Reader, rows: Ints) -> None:
        if not np.array_equal(reader.read(rows), reader.read(rows), equal_nan=True):
            raise DatasetError(
                f"expected the same input at every read; two reads of the first examples of {self.spec} differ",
                "let transform= name a function without augmentation",
            )

    def _check_finite(self) -> None:
        if self._reader.dtype != np.float32:
            return
        for number, block in enumerate(self._blocks()):
            bad = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
            if bad.size:
                raise DatasetError(
                    f"expected finite inputs in {self.spec}; that of example {self.ids[number * BLOCK + bad[0]]} "
                    "has NaN or infinity",
                    "leave that example out, or repair it",
                )

    def _resolve(self, settings: Settings) -> dict[str, Any]:
        transform: dict[str, Any] = {"scale": "1/255"} if self._reader.dtype == np.uint8 else {}
        transform |= settings.pictures.facts()
        if self._reverse:
            transform["channels"] = "bgr"
        if settings.standardize != "none":
            transform["standardize"] = settings.standardize
        mean, std = settings.mean, settings.std
        if settings.standardize == "channel":
            mean, std = self._channel_constants()
            mean, std = (mean[::-1], std[::-1]) if self._reverse else (mean, std)
        if not mean:
            return transform
        channels = self.input_shape[0] if self.input_shape else 1
        for key, found in (("mean", mean), ("std", std)):
            if len(found) not in (1, channels):
                raise UsageError(
                    f"in {self.spec!r}: expected {key}= to have 1 or {channels} numbers "
                    f"(the inputs have {channels} channels); found {len(found)}"
                )
        shape = (-1,) + (1,) * (len(self.input_shape) - 1)
        self.normalisation = (
            np.array(mean, dtype=np.float32).reshape(shape),
            np.array(std, dtype=np.float32).reshape(shape),
        )
        return transform | {"mean": list(mean), "std": list(std)}

    def _channel_constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and population standard deviation of each channel over the examples taken, in float64."""
        scale = 255 if self._reader.dtype == np.uint8 else 1
        channels = self.input_shape[0] if self.input_shape else 1
        count = len(self) * int(np.prod(self.input_shape[1:], dtype=np.int64))
        return channel_constants(self._blocks(), channels, count, scale)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        facts = {"classes": self.classes, "shape": self.input_shape, "transform": self.transform}
        digest.update(json.dumps(facts, sort_keys=True).encode(errors="surrogateescape"))
        for array in (
            self.ids,
            self.labels,
            self._targets,
            *(() if self.weights is None else (self.weights,)),
            *self.beside.values(),
        ):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        digest.update(self._reader.identity(self._rows))
        return digest.hexdigest()

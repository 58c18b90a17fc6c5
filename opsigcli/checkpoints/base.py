"""The nouns of this room: what a checkpoint says about itself, and what a format can do with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opsigcli.errors import CheckpointError

if TYPE_CHECKING:
    import torch

# What a step number counts, best evidence of "optimizer updates made" first. "number" is a number in a file name
# that does not say what it counts (checkpoint-12, model_3); "position" is the place in the series.
UNITS = ("step", "epoch", "number", "position")
SOURCES = ("manifest", "content", "sidecar", "name")  # of such a number, the best first
WEIGHTS = ("model", "ema")  # what --weights chooses between: the trained weights, or their moving average

# Element type -> bytes of one element, for every type that opsig reads.
SIZES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}


class NotWeights(CheckpointError):
    """A file in a checkpoint format that holds something other than weights, such as an optimizer state."""


@dataclass(frozen=True)
class TensorFacts:
    """A tensor as a file's header describes it."""

    dtype: str  # float32, bfloat16 …
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return self.count * SIZES.get(self.dtype, 1)


@dataclass(frozen=True)
class OptimizerFacts:
    """What a checkpoint says of its optimizer, read without its tensors; which one that is, is told elsewhere."""

    name: str = ""  # where the checkpoint itself states one
    group: Mapping[str, Any] = field(default_factory=dict)  # hyper-parameters of the first parameter group
    state_keys: frozenset[str] | None = None  # what every parameter's state has; None before the first update
    others: tuple[OptimizerFacts, ...] = ()  # further ones of the same checkpoint


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself, read without its tensors."""

    candidates: Mapping[str, Mapping[str, TensorFacts]]  # key -> the weights under it; "" is the whole file
    counts: Mapping[str, int] = field(
        default_factory=dict
    )  # unit -> number, for the units its content states
    lr: float | None = None
    optimizer: OptimizerFacts = field(default_factory=OptimizerFacts)
    notes: tuple[str, ...] = ()
    beside: Mapping[str, int] = field(default_factory=dict)  # as counts, from files beside the weights
    aside: tuple[str, ...] = ()  # names of what lies among the weights and is no tensor
    model: str = ""  # a model spec that the checkpoint itself suggests; never followed unasked


@dataclass(frozen=True)
class Checkpoint:
    """Weights at one step, and where that step number was found."""

    path: Path
    file: str  # path within the folder of the series, with slashes
    format: str  # a name in the table of formats
    step: int  # in the unit of the series
    step_source: str  # manifest, content, sidecar, name, or position
    epoch: float | None
    lr: float | None
    size: int  # bytes
    modified: float  # seconds since 1970
    header: Header
    note: str = ""


class CheckpointFormat(Protocol):
    """One way of keeping a checkpoint on disk. No code from the checkpoint runs, but in what ``unsafe`` gives.

    A format inherits from this; what is defined here holds for a file of weights alone.
    """

    name: str  # in the table of formats
    suffixes: tuple[str, ...] = ()  # of its files, which are no part of a checkpoint's name
    folder: bool = False  # a checkpoint is a folder
    # What in such a folder looks like a checkpoint and belongs to this one: names, or patterns of them.
    parts: tuple[str, ...] = ()

    def recognises(self, path: Path) -> bool:
        """Whether ``path`` looks like this format (by its name, and its first bytes where names mislead)."""

    def describe(self, path: Path) -> Header:
        """What the checkpoint says about itself, without reading its tensors.

        Raises:
            NotWeights: the file is sound and holds no weights.
            CheckpointError: the file cannot be read, or is refused.
        """

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The weights by name, on the CPU, in memory of their own.

        Args:
            path: the checkpoint.
            key: which weights, when the file holds several (see ``Header.candidates``).
            weights: ``model`` or ``ema``, to choose between trained weights and their moving average.

        Raises:
            CheckpointError: the file cannot be read or is refused, or no one set of weights is chosen.
        """

    def optimizer(self, path: Path, *, tensors: bool) -> dict[str, Any]:
        """The optimizer's ``param_groups`` and ``state`` in the checkpoint; {} where there is none.

        Args:
            path: the checkpoint.
            tensors: read them; else their ``TensorFacts`` stand for them.

        Raises:
            CheckpointError: the file cannot be read or is refused.
        """
        return {}

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """Settings of the program that wrote the checkpoint, as far as they stand in it, by name.

        Raises:
            CheckpointError: the file cannot be read or is refused.
        """
        return {}

    def files(self, path: Path) -> list[Path]:
        """The files that the checkpoint's weights are in, for its size and its digest.

        Raises:
            CheckpointError: a file is missing, or cannot be read.
            OSError: the folder cannot be listed.
        """
        return [path]

    def unsafe(self) -> CheckpointFormat:
        """This format when the user allows code of files to run that cannot be read otherwise."""
        return self


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for a file that the operating system does not let us read."""
    if isinstance(error, PermissionError):
        return CheckpointError(
            f"expected a checkpoint that you may read, found {path} with permission denied",
            f"ask its owner for 'chmod a+r {path}', or run as the user who wrote it",
        )
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"expected a checkpoint at {path}, found nothing there", "check the path")
    return CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the disk and the path")


def some(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")

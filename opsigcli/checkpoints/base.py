"""The nouns of this room: what a checkpoint says about itself, and the formats that can read one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from opsigcli.errors import CheckpointError
from opsigcli.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

# What a step number counts, best evidence of "optimizer updates made" first. "number" is a number in a file name
# that does not say what it counts (checkpoint-12, model_3); "position" is the place in the series.
UNITS = ("step", "epoch", "number")


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


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself, read without its tensors."""

    candidates: Mapping[str, Mapping[str, TensorFacts]]  # key -> the weights under it; "" is the whole file
    counts: Mapping[str, int] = field(
        default_factory=dict
    )  # unit -> number, for the units its content states
    lr: float | None = None
    optimizer: str = ""  # sgd, adam … where the content shows it
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """Weights at one step, and where that step number was found."""

    path: Path
    file: str  # path within the folder of the series, with slashes
    format: str  # a name in FORMATS
    step: int  # in the unit of the series
    step_source: str  # manifest, content, sidecar, name, or position
    epoch: float | None
    lr: float | None
    size: int  # bytes
    modified: float  # seconds since 1970
    header: Header
    note: str = ""


class CheckpointFormat(Protocol):
    """One way of keeping a checkpoint on disk. None of its methods runs code from the checkpoint."""

    name: str

    def recognises(self, path: Path) -> bool:
        """Whether ``path`` looks like this format (by its name, and its first bytes where names mislead)."""

    def describe(self, path: Path) -> Header:
        """What the checkpoint says about itself, without reading its tensors.

        Raises:
            NotWeights: the file is sound and holds no weights.
            CheckpointError: the file cannot be read, or is refused.
        """

    def read(self, path: Path, key: str | None = None) -> dict[str, torch.Tensor]:
        """The weights by name, on the CPU, in memory of their own.

        Args:
            path: the checkpoint.
            key: which weights, when the file holds several (see ``Header.candidates``).

        Raises:
            CheckpointError: the file cannot be read or is refused, or ``key`` does not choose one set of weights.
        """


FORMATS = Registry(
    "checkpoint format",
    {
        "safetensors": Entry(
            "opsigcli.checkpoints.safetensors_file:SafetensorsFile", "one .safetensors file of weights"
        ),
        "torch": Entry(
            "opsigcli.checkpoints.torch_file:TorchFile",
            "a torch.save file: .pt .pth .bin .ckpt .tar, loaded with weights_only=True",
        ),
    },
)


def formats() -> list[CheckpointFormat]:
    """Every format, in the order in which they are asked."""
    return [FORMATS.load(name)() for name in FORMATS]


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

"""Folders of SpeechBrain's Checkpointer: one checkpoint, with a file for each thing that it recovers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import step_keys
from opsigcli.checkpoints.base import CheckpointFormat, Header, OptimizerFacts
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.checkpoints.yaml_scalars import yaml_scalars
from opsigcli.errors import CheckpointError
from opsigcli.files import read_file

if TYPE_CHECKING:
    import torch

META = "CKPT.yaml"  # what the recipe wrote down, such as the epoch
COUNTS = ("brain.ckpt", META)  # of which the first has the step
WEIGHTS = "model.ckpt"
OPTIMIZERS = ("optimizer.ckpt", "model_optimizer.ckpt")
_LARGEST = 1 << 20  # bytes of a file of counts


class SpeechBrainFolder(CheckpointFormat):
    """A folder ``CKPT+2024-03-01+12-00-00+00`` with the recipe's ``model``; normalizers, counters and loaders beside it
    are never opened."""

    name = "speechbrain"
    folder = True
    parts: tuple[str, ...] = (META, "*.ckpt")

    def recognises(self, path: Path) -> bool:
        """Folders with the Checkpointer's own file and a model."""
        return path.is_dir() and (path / META).is_file() and (path / WEIGHTS).is_file()

    def describe(self, path: Path) -> Header:
        """The model's tensors; step and epoch from the files of counts, learning rate from the optimizer's."""
        counts: dict[str, int] = {}
        for name in COUNTS:
            with contextlib.suppress(OSError):
                text = read_file(path / name, _LARGEST).decode(errors="replace")
                counts = step_keys.content_counts(yaml_scalars(text)) | counts
        lr, optimizer = None, OptimizerFacts()
        if (beside := _optimizer_file(path)) is not None:
            with contextlib.suppress(CheckpointError):
                state = TorchFile().describe_state(beside)
                lr, optimizer = state.lr, state.optimizer
        own = TorchFile().describe(path / WEIGHTS)
        return Header(own.candidates, counts, lr, optimizer, own.notes, aside=own.aside)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The model's weights."""
        return TorchFile().read(path / WEIGHTS, key, weights)

    def optimizer(self, path: Path, *, tensors: bool) -> dict[str, Any]:
        """The optimizer's groups and state, from the file beside the model."""
        beside = _optimizer_file(path)
        return TorchFile().optimizer(beside, tensors=tensors) if beside else {}

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """What the recipe wrote down with the checkpoint."""
        with contextlib.suppress(OSError):
            return yaml_scalars(read_file(path / META, _LARGEST).decode(errors="replace"))
        return {}

    def files(self, path: Path) -> list[Path]:
        """The model's file."""
        return [path / WEIGHTS]


def _optimizer_file(path: Path) -> Path | None:
    return next((path / name for name in OPTIMIZERS if (path / name).is_file()), None)

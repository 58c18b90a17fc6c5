"""A run as far as its optimizer is concerned: the weights of its checkpoints, one after another in one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from opsigcli.checkpoints.choose import averages, choose
from opsigcli.checkpoints.formats import formats
from opsigcli.checkpoints.series import Series
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.optimizer_state import lr_of

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective


class TrainedRun(Protocol):
    """Checkpoints by their place in a series."""

    @property
    def files(self) -> Sequence[str]:
        """Their names."""

    @property
    def lrs(self) -> Sequence[float]:
        """Their learning rates, NaN where unknown."""

    @property
    def objective(self) -> Objective:
        """Model, loss and data."""

    def path(self, row: int) -> Path:
        """Where a checkpoint is."""

    def averaged(self, row: int) -> bool:
        """Whether its weights are a moving average of those that were trained."""

    def load(self, row: int) -> None:
        """Put its weights into the objective."""


class SeriesRun:
    """A series of checkpoints with the model they fit.

    Args:
        series: the checkpoints.
        objective: model, loss and data.
        loader: puts weights into the objective's model.
    """

    def __init__(self, series: Series, objective: Objective, loader: Loader) -> None:
        self.series, self.objective, self.loader = series, objective, loader
        self.files = [checkpoint.file for checkpoint in series]
        self.lrs = [math.nan if (lr := lr_of(checkpoint)) is None else lr for checkpoint in series]

    def path(self, row: int) -> Path:
        """Where a checkpoint is."""
        return self.series.checkpoints[row].path

    def averaged(self, row: int) -> bool:
        """Whether its weights are a moving average of those that were trained."""
        return holds_average(self.path(row), self.series.key, self.series.weights, self.series.unsafe)

    def load(self, row: int) -> None:
        """Put its weights into the objective.

        Raises:
            CheckpointError: the file cannot be read.
            ModelError: the weights do not fit.
        """
        self.loader.load(self.series.read(row), self.files[row])


def holds_average(path: Path, key: str | None, weights: str, unsafe: bool) -> bool:
    """Whether the weights of a file that are meant are a moving average of those that were trained.

    Raises:
        CheckpointError: the file cannot be read.
    """
    reader = next(reader for reader in formats(unsafe) if reader.recognises(path))
    sets = reader.describe(path).candidates
    name, _ = choose(path, sets, key, weights)
    return name in averages(sets)

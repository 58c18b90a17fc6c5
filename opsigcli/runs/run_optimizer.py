"""The optimizer of a run, with its hyper-parameters and its state at a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.errors import CheckpointError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Optimizer
from opsigcli.records import Run
from opsigcli.runs.optimizer_state import state_by_parameter

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.objective.base import Objective


class RunOptimizer:
    """The optimizer that a run was made with, or the one that is given instead.

    Args:
        run: its optimizer and hyper-parameters.
        name: of another optimizer; None is the run's.
        given: hyper-parameters that are used whatever run and checkpoints say; None where nothing is given.

    Raises:
        UsageError: there is no optimizer of that name.
    """

    def __init__(self, run: Run, name: str | None, given: Mapping[str, float | None]) -> None:
        self.name = name or run.optimizer
        self.rule: Optimizer | None = OPTIMIZERS.load(self.name) if self.name else None  # None when not known
        self.unusable = ""  # why the state of a checkpoint cannot be used
        self._of_run = dict(run.hyper) if self.name == run.optimizer else {}
        self._given = {key: value for key, value in given.items() if value is not None}

    def hyper(self, lr: float | None = None) -> dict[str, Any]:
        """The hyper-parameters at a checkpoint: given ones before those of the checkpoint and of the run.

        Args:
            lr: the checkpoint's; None or not finite when it is not known.
        """
        known = {"lr": lr} if lr is not None and math.isfinite(lr) else {}
        return self._of_run | known | self._given

    def state(self, checkpoint: Path, objective: Objective) -> dict[str, dict[str, Tensor]]:
        """The state at a checkpoint by the name of each parameter; {} where there is none that can be used."""
        shapes = [tuple(p.shape) for p in objective.parameters]
        try:
            return state_by_parameter(checkpoint, objective.parameter_names, shapes)
        except CheckpointError as error:
            self.unusable = error.message
            return {}

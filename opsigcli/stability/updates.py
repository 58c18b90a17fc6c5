"""Updates of a rule from the weights of a checkpoint, and the weights as one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from opsigcli.checkpoints.example_weights import read_example_weights
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.runs.build_optimizer import build_optimizer
from opsigcli.runs.state_values import alien
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.trainer import Trainer
from opsigcli.runs.tuning import Tuning

if TYPE_CHECKING:
    from opsigcli.records import Floats

State = Mapping[str, Tensor]  # <parameter name>/<state name>, as ``Trainer.state`` has it


@dataclass(frozen=True)
class Update:
    """One update of a rule from the weights that were loaded."""

    step: Tensor  # (P,) θ̂ − θ
    gradient: Tensor  # (P,)


class Updates:
    """Updates from the weights that are loaded, over the parameters that the objective trains.

    Args:
        run: the run, opened.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run, self.objective = run, run.objective
        self.example_weights = self._example_weights()

    def weights(self) -> Tensor:
        """θ (P,)."""
        return torch.cat([p.detach().reshape(-1) for p in self.objective.parameters])

    def sizes(self) -> list[int]:
        """Of the parameters, whose sum is P."""
        return [p.numel() for p in self.objective.parameters]

    def make(
        self,
        row: int,
        tuning: Tuning | None,
        state: State,
        batch: int | None = None,
        seed: int = 0,
    ) -> Update:
        """One update on all examples or on one batch, which changes the weights; without ``tuning`` the gradient alone.

        Args:
            row: of the trace, which is loaded.
            tuning: how parameters are updated.
            state: of the optimizer.
            batch: examples in it; None is all.
            seed: of the batch.

        Raises:
            CheckpointError: the state is one of another rule.
        """
        start = self.weights()
        made: Any
        if tuning is None:
            made = OPTIMIZERS.load("gd").build(self.objective.parameters, {"lr": 0.0})
        else:
            made = build_optimizer(tuning, self.objective)
        weights = self.example_weights if batch is None else None
        clip = None if tuning is None else tuning.largest
        trainer = Trainer(self.objective, made, batch, seed, weights, clip=clip)
        trainer.restore_state(int(self.run.steps[row]), state)
        try:
            trainer.update()
        except (KeyError, RuntimeError) as error:  # torch takes the state as it is
            if tuning is None or not state:
                raise
            raise alien(tuning.parts[0].name, error) from error
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
                for p in self.objective.parameters
            ]
        )
        for parameter in self.objective.parameters:
            parameter.grad = None
        return Update(self.weights() - start, gradient)

    def apply(
        self, tuning: Tuning, state: State, start: Tensor, gradient: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The step (P,) that a rule makes of a gradient, and its state afterwards; leaves θ = ``start`` loaded.

        Args:
            tuning: how parameters are updated.
            state: of the optimizer.
            start: θ (P,).
            gradient: of the batch (P,).

        Raises:
            CheckpointError: the state is one of another rule.
        """
        self._put(start)
        trainer = Trainer(self.objective, build_optimizer(tuning, self.objective), None, 0)
        trainer.restore_state(0, state)
        for parameter, part in zip(
            self.objective.parameters, torch.split(gradient, self.sizes()), strict=True
        ):
            parameter.grad = part.reshape(parameter.shape).to(parameter)
        try:
            trainer.optimizer.step()
        except (KeyError, RuntimeError) as error:
            raise alien(tuning.parts[0].name, error) from error
        step = self.weights() - start
        for parameter in self.objective.parameters:
            parameter.grad = None
        self._put(start)
        return step, trainer.state()

    def previous(self, row: int, start: Tensor) -> Tensor | None:
        """The step to this checkpoint, where the one before is one step away; leaves that one loaded."""
        if row == 0 or self.run.steps[row] - self.run.steps[row - 1] != 1:
            return None
        try:
            self.run.load(row - 1)
        except (CheckpointError, ModelError):
            return None
        return start - self.weights()

    def momentum(self, tuning: Tuning, previous: Tensor | None, row: int) -> dict[str, Tensor]:
        """The momentum buffer that the step before shows, where a checkpoint holds none: ``m = −Δ/η``."""
        before = float(self.run.lrs[row - 1]) if row else math.nan
        rate = before if math.isfinite(before) else tuning.lr
        if (
            previous is None
            or not rate
            or any(part.name not in ("momentum", "dampened") for part in tuning.parts)
        ):
            return {}
        names, parameters = self.objective.parameter_names, self.objective.parameters
        return {
            f"{name}/momentum_buffer": (-part / rate).reshape(parameter.shape)
            for name, part, parameter in zip(
                names, torch.split(previous, self.sizes()), parameters, strict=True
            )
        }

    @torch.no_grad()
    def _put(self, weights: Tensor) -> None:
        for parameter, part in zip(
            self.objective.parameters, torch.split(weights, self.sizes()), strict=True
        ):
            parameter.copy_(part.reshape(parameter.shape))

    def _example_weights(self) -> Floats | None:
        """How much each example counted in a run of ``opsig train`` that left some out; None where all count alike."""
        _, less = read_example_weights(Path(self.run.run.checkpoints))
        if not less:
            return None
        return np.array([less.get(i, 1.0) for i in self.run.source.ids.tolist()], dtype=np.float32)

"""How near a checkpoint is to its optimizer's stability threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from opsigcli.checkpoints.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.writer import state_path
from opsigcli.commands.context import StoredRun
from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.objective.hvp import hessian_operator
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.options import SharpnessOptions
from opsigcli.records import SharpnessPoint


@dataclass(frozen=True)
class Stability:
    """Threshold and ratio at one checkpoint, or why there are none."""

    threshold: float | None = None
    ratio: float | None = None
    preconditioned: float | None = None
    matvecs: int = 0
    reason: str = ""


class Meter:
    """Measures sharpness and stability at the checkpoints of a run.

    Args:
        run: the run, opened.
        options: of ``opsig sharpness``; its optimizer, lr and momentum override the run's.
    """

    def __init__(self, run: StoredRun, options: SharpnessOptions) -> None:
        self.run, self.options = run, options
        self.optimizer = options.optimizer or run.run.optimizer
        self.kind = OPTIMIZERS.load(self.optimizer) if self.optimizer else None

    def measure(self, row: int, step: int, lr: float, tell: Callable[[str], None]) -> SharpnessPoint:
        """Sharpness and stability at checkpoint ``row`` of the trace.

        Args:
            row: of the trace.
            step: of that checkpoint.
            lr: as stored for it; NaN when unknown.
            tell: called with a line about the solver's progress.
        """
        self.run.load(row)
        spectrum = self._solve(hessian_operator(self.run.objective), self.options.top, tell)
        hyper = self._hyper(lr)
        stable = self._stability(row, float(spectrum.eigenvalues[0]), hyper, tell)
        reasons = [spectrum.reason, stable.reason]
        return SharpnessPoint(
            step=step,
            eigenvalues=tuple(map(float, spectrum.eigenvalues)),
            residuals=tuple(map(float, spectrum.residuals)),
            converged=spectrum.converged,
            matvecs=spectrum.matvecs + stable.matvecs,
            threshold=stable.threshold,
            ratio=stable.ratio,
            preconditioned=stable.preconditioned,
            reason="; ".join(reason for reason in reasons if reason),
            file=self.run.files[row],
            lr=hyper.get("lr"),
        )

    def _hyper(self, lr: float) -> dict[str, Any]:
        """The hyper-parameters at a checkpoint: given ones before those of the checkpoint and of the run."""
        hyper = dict(self.run.run.hyper) if self.optimizer == self.run.run.optimizer else {}
        if math.isfinite(lr):
            hyper["lr"] = lr
        if self.options.lr is not None:
            hyper["lr"] = self.options.lr
        if self.options.momentum is not None:
            hyper["momentum"] = self.options.momentum
        return hyper

    def _stability(
        self, row: int, sharpness: float, hyper: dict[str, Any], tell: Callable[[str], None]
    ) -> Stability:
        if self.kind is None:
            return Stability(reason="no threshold: the optimizer is not known; give --optimizer and --lr")
        if hyper.get("lr") is None:
            return Stability(reason="no threshold: the learning rate is not known; give --lr")
        threshold = self.kind.stability_threshold(hyper)
        if not self.kind.preconditions:
            return Stability(threshold, sharpness / threshold)
        objective = self.run.objective
        state = self._state(row)
        shapes = [tuple(p.shape) for p in objective.parameters]
        weights = self.kind.preconditioner(state, hyper, shapes) if state else None
        if weights is None:
            return Stability(
                threshold, reason=f"no ratio: the checkpoint has no second moments of {self.optimizer}"
            )
        weights = weights.to(objective.device, objective.dtype)
        operator = hessian_operator(objective, preconditioner=weights, shift=self.kind.shift(hyper))
        spectrum = self._solve(operator, 1, tell)
        value = float(spectrum.eigenvalues[0])
        reason = f"preconditioned: {spectrum.reason}" if spectrum.reason else ""
        return Stability(threshold, value / threshold, value, spectrum.matvecs, reason)

    def _state(self, row: int) -> dict[str, dict[str, torch.Tensor]]:
        """The optimizer's state beside a checkpoint, by parameter in the objective's order; {} if there is none."""
        path = state_path(Path(self.run.run.checkpoints) / self.run.files[row])
        if not path.exists():
            return {}
        flat = SafetensorsFile().read(path)
        state: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self.run.objective.parameter_names}
        for place, value in flat.items():
            name, _, key = place.rpartition("/")
            state.setdefault(name, {})[key] = value
        return {name: entry for name, entry in state.items() if entry}

    def _solve(self, operator: Any, count: int, tell: Callable[[str], None]) -> Spectrum:
        return top_eigenvalues(
            operator,
            operator.size,
            count,
            tolerance=self.options.tolerance,
            max_matvecs=self.options.max_matvecs,
            seed=self.options.seed,
            device=self.run.objective.device,
            dtype=self.run.objective.dtype,
            callback=lambda done, top, rest: tell(f"HVP {done}: {top:.4g}, residual {rest:.1e}"),
        )

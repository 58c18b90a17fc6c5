"""The stability ratio at a checkpoint: its sharpness over the threshold of the run's optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.runs.optimizer_state import squared_part_without_moment
from opsigcli.runs.run_optimizer import RunOptimizer

UNSEEN = 0.5  # of the squared eigenvector in weights without a gradient, from which a ratio says nothing


@dataclass(frozen=True)
class Stability:
    """Threshold and ratio at one checkpoint, or why there are none."""

    threshold: float | None = None
    ratio: float | None = None
    preconditioned: float | None = None
    matvecs: int = 0
    reason: str = ""


def stability(
    optimizer: RunOptimizer,
    hyper: dict[str, Any],
    sharpness: float,
    operator: HessianOperator,
    checkpoint: Path,
    solve: Callable[[HessianOperator], Spectrum],
) -> Stability:
    """``λmax(H) / threshold``, or ``λmax(P⁻¹(H + shift·I)) / threshold`` for a rule that preconditions with P.

    Args:
        optimizer: of the run.
        hyper: its hyper-parameters at the checkpoint.
        sharpness: λmax(H).
        operator: H at the weights of the checkpoint.
        checkpoint: which holds the optimizer's state.
        solve: finds the largest eigenvalue.

    Raises:
        UsageError: a hyper-parameter does not fit the optimizer.
        CheckpointError: the state belongs to other parameters.
        CurvatureError: the preconditioner is not positive, or memory is too small.
    """
    rule, objective = optimizer.rule, operator.objective
    if rule is None:
        return Stability(reason="no threshold: the optimizer is not known; give --optimizer and --lr")
    if hyper.get("lr") is None:
        return Stability(reason="no threshold: the learning rate is not known; give --lr")
    threshold = rule.stability_threshold(hyper)
    if not rule.preconditions:
        return Stability(threshold, sharpness / threshold)
    state = optimizer.state(checkpoint, objective)
    shapes = [tuple(p.shape) for p in objective.parameters]
    weights = rule.preconditioner(state, hyper, shapes) if state else None
    if weights is None:
        why = optimizer.unusable or f"the checkpoint has no second moments of {optimizer.name}"
        return Stability(threshold, reason=f"no ratio: {why}")
    weights = weights.to(objective.device, objective.dtype)
    spectrum = solve(operator.preconditioned(weights, rule.shift(hyper)))
    value = float(spectrum.eigenvalues[0])
    unseen = squared_part_without_moment(state, rule.second_moment, spectrum.vectors[0])
    if unseen > UNSEEN:
        reason = (
            f"no ratio: {unseen:.0%} of the preconditioned eigenvector is in weights whose second moment is 0; "
            "the run had no gradient there, as if it had not seen such examples"
        )
        return Stability(threshold, None, value, spectrum.matvecs, reason)
    reason = f"preconditioned: {spectrum.reason}" if spectrum.reason else ""
    return Stability(threshold, value / threshold, value, spectrum.matvecs, reason)

"""Parts of loss deltas along the Hessian's top eigenvectors: what is given of a step, and what is said of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.top import largest
from opsigcli.mining_records import EigenChange, EigenPart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsigcli.mining.inputs import Trace
    from opsigcli.records import Floats, Ints

ROUGH = 0.5  # of the mean size of a delta: an error from which the parts of a step say little


class EigenStep(NamedTuple):
    """A step from one checkpoint of the trace to the next, and what each loss delta has along each eigenvector."""

    begin: int  # row of the trace, where the eigenvectors are taken
    end: int  # row of the next one
    eigenvalues: Floats  # (k,) largest first
    moved: Floats  # (k + 1,) share of the squared length of the step along each, and outside of all
    converged: bool  # of the eigenvalues; the parts are right in any basis
    parts: Floats  # (k + 1, N) nats; the last row is outside of all; NaN = not measured
    products: int  # with the Hessian, for the eigenvectors


def eigen_changes(steps: Sequence[EigenStep], trace: Trace, top: int) -> tuple[EigenChange, ...]:
    """What the parts of every step come to in the mean, which examples have the largest, and the error.

    ``mean Δℓ = Σ_j mean p_j + mean p_outside + error``; sizes are means of magnitudes over the mean ``|Δℓ_i|``.

    Args:
        steps: of the run.
        trace: whose examples these are.
        top: examples on each side of a direction.

    Returns:
        One for each step with losses and eigenvectors.
    """
    found = []
    for step in steps:
        delta = np.asarray(trace.losses[step.end], dtype=np.float64) - trace.losses[step.begin]
        parts = np.asarray(step.parts, dtype=np.float64)
        good = trace.survey.examples & np.isfinite(delta) & np.isfinite(parts).all(axis=0)
        if not good.any() or not np.isfinite(step.eigenvalues).all():
            continue
        mean = partial(_mean, np.ones(int(good.sum())) if trace.weights is None else trace.weights[good])
        delta, parts, ids = delta[good], parts[:, good], trace.ids[good]
        rest = delta - parts.sum(axis=0)
        whole = mean(np.abs(delta)) or 1.0
        found.append(
            EigenChange(
                step=int(trace.steps[step.begin]),
                next_step=int(trace.steps[step.end]),
                converged=step.converged,
                mean_change=mean(delta),
                size=mean(np.abs(delta)),
                outside=_part(parts[-1], ids, None, step.moved[-1], mean, whole, top),
                parts=tuple(
                    _part(part, ids, float(value), moved, mean, whole, top)
                    for part, value, moved in zip(parts[:-1], step.eigenvalues, step.moved, strict=False)
                ),
                error=mean(rest),
                error_size=mean(np.abs(rest)) / whole,
            )
        )
    return tuple(found)


def notes_on_parts(changes: Sequence[EigenChange], steps: int) -> list[str]:
    """How far the parts add up to the deltas, over all steps; that there are none, where steps were to be parted."""
    if not changes:
        nothing = (
            "no loss delta was parted along eigenvectors: weights or losses are not finite where it was tried"
        )
        return [nothing] if steps else []
    worst = max(change.error_size for change in changes)
    count = len(changes[0].parts)
    words = (
        f"parts along the top {count} eigenvectors and outside of them add up to the loss deltas with an error of "
        f"{np.mean([change.error_size for change in changes]):.1%} of their mean size, {worst:.1%} in the worst of "
        f"{len(changes)} steps"
    )
    if worst > ROUGH:
        words += (
            ": too long a step for parts that say much; checkpoints closer to one another have smaller ones"
        )
    return [words]


def _part(
    part: Floats,
    ids: Ints,
    eigenvalue: float | None,
    moved: float,
    mean: Callable[[Floats], float],
    whole: float,
    top: int,
) -> EigenPart:
    up, down = (largest(np.where(sign * part > 0, sign * part, np.nan), top, ids) for sign in (1, -1))
    return EigenPart(
        eigenvalue=eigenvalue,
        moved=float(moved),
        mean=mean(part),
        size=mean(np.abs(part)) / whole,
        up_ids=tuple(map(int, ids[up])),
        up_parts=tuple(map(float, part[up])),
        down_ids=tuple(map(int, ids[down])),
        down_parts=tuple(map(float, part[down])),
    )


def _mean(weights: Floats, values: Floats) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() > 0 else 0.0

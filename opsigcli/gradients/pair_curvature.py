"""Curvature of the loss along a pair's direction, beside the sharpness that the store holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.mining.class_matched import class_matched
from opsigcli.records import Evidence, LossTrace, Pair, SharpnessPoint

if TYPE_CHECKING:
    from opsigcli.records import Ints
    from opsigcli.runs.stored_run import StoredRun

DRAWS = 3  # class-matched random pairs of the null


def with_curvature(
    pairs: tuple[Pair, ...],
    run: StoredRun | None,
    rows: list[int],
    sharpness: tuple[SharpnessPoint, ...],
    trace: LossTrace,
    seed: int,
    kept: dict[str, NDArray[Any]],
) -> tuple[Pair, ...]:
    """The pairs with ``uᵀHu / λ₁`` as evidence, u ∝ mean g_A − mean g_B.

    It is measured where the model is open anyhow, at the checkpoint with converged sharpness nearest to one of those
    compared; ``kept`` holds what was measured before, and receives what is new.
    """
    known = [point for point in sharpness if point.converged and point.eigenvalues[0] > 0]
    if not pairs or not known or not rows:
        return pairs
    point = min(known, key=lambda p: (min(abs(int(trace.steps[row]) - p.step) for row in rows), p.step))
    at = np.flatnonzero(trace.steps == point.step)
    if not len(at):
        return pairs
    groups = [group.ids for pair in pairs for group in (pair.first, pair.second)]
    taken = trace.positions(np.concatenate(groups))
    measured = []
    for pair in pairs:
        first, second = (trace.positions(group.ids) for group in (pair.first, pair.second))
        parts = (str(point.step).encode(), str(seed).encode(), first.tobytes(), second.tobytes())
        name = f"curvature-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:24]}"
        if name not in kept and run is not None:
            run.load(int(at[0]))
            values = [_along(run, first, second)]
            rng = np.random.default_rng(seed)
            random = class_matched(trace.labels, (first, second), taken, rng, DRAWS)
            values += [_along(run, a, b) for a, b in zip(*random, strict=True)]
            kept[name] = np.array(values)
        if name in kept:
            value, *nulls = kept[name] / point.eigenvalues[0]
            found = Evidence(float(value), float(np.mean(nulls)))
            pair = replace(pair, evidence={**pair.evidence, "curvature": found})  # noqa: PLW2901
        measured.append(pair)
    return tuple(measured)


def _along(run: StoredRun, first: Ints, second: Ints) -> float:
    """``uᵀHu`` at the weights that are loaded."""
    import torch

    from opsigcli.derivatives.hvp import hessian_operator

    _, of_first = run.objective.mean_loss_and_gradient(first)
    _, of_second = run.objective.mean_loss_and_gradient(second)
    u = torch.cat([(a - b).reshape(-1) for a, b in zip(of_first, of_second, strict=True)])
    norm = u.norm()
    if not float(norm) > 0:
        return 0.0
    u = u / norm
    return float(u @ hessian_operator(run.objective)(u))

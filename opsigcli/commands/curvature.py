"""Curvature of the loss along a pair's direction, beside the sharpness that the store holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.records import Evidence, LossTrace, Pair, SharpnessPoint

if TYPE_CHECKING:
    from opsigcli.commands.context import StoredRun
    from opsigcli.records import Ints

DRAWS = 3  # class-matched random pairs of the null


def with_curvature(
    pairs: tuple[Pair, ...],
    run: StoredRun | None,
    rows: list[int],
    sharpness: tuple[SharpnessPoint, ...],
    trace: LossTrace,
    seed: int,
) -> tuple[Pair, ...]:
    """The pairs with ``uᵀHu / λ₁`` as evidence, u ∝ mean g_A − mean g_B.

    It is measured where the model is open anyhow, at the compared checkpoint nearest to one with converged
    sharpness.
    """
    known = [point for point in sharpness if point.converged and point.eigenvalues[0] > 0]
    if run is None or not pairs or not known or not rows:
        return pairs
    row, point = min(
        ((row, point) for row in rows for point in known),
        key=lambda both: (abs(int(trace.steps[both[0]]) - both[1].step), both[0]),
    )
    # Sharpness of another checkpoint is another landscape.
    exact = np.flatnonzero(trace.steps == point.step)
    run.load(int(exact[0]) if len(exact) else row)
    position = {int(i): p for p, i in enumerate(trace.example_ids)}
    taken = {position[int(i)] for pair in pairs for group in (pair.first, pair.second) for i in group.ids}
    measured = []
    for pair in pairs:
        first, second = (
            np.array([position[int(i)] for i in g.ids], dtype=np.int64) for g in (pair.first, pair.second)
        )
        value = _along(run, first, second) / point.eigenvalues[0]
        rng = np.random.default_rng(seed)
        nulls = []
        for _ in range(DRAWS):
            a, b = _matched(trace.labels, first, second, taken, rng)
            nulls.append(_along(run, a, b) / point.eigenvalues[0])
        evidence = {**pair.evidence, "curvature": Evidence(value, float(np.mean(nulls)))}
        measured.append(replace(pair, evidence=evidence))
    return tuple(measured)


def _along(run: StoredRun, first: Ints, second: Ints) -> float:
    """``uᵀHu`` at the weights that are loaded."""
    import torch

    from opsigcli.objective.hvp import hessian_operator

    _, of_first = run.objective.mean_loss_and_gradient(first)
    _, of_second = run.objective.mean_loss_and_gradient(second)
    u = torch.cat([(a - b).reshape(-1) for a, b in zip(of_first, of_second, strict=True)])
    norm = u.norm()
    if not float(norm) > 0:
        return 0.0
    u = u / norm
    return float(u @ hessian_operator(run.objective)(u))


def _matched(
    labels: Ints, first: Ints, second: Ints, taken: set[int], rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Random disjoint groups with the labels of the pair's, outside all pairs while there are enough."""
    sides: tuple[list[int], list[int]] = ([], [])
    inside = np.isin(np.arange(len(labels)), list(taken))
    for label in np.unique(labels[np.concatenate([first, second])]):
        a, b = int((labels[first] == label).sum()), int((labels[second] == label).sum())
        of = labels == label
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(of & ~inside)), rng.permutation(np.flatnonzero(of & inside))]
        )
        drawn = rng.permutation(rows[: a + b])
        sides[0].extend(drawn[:a].tolist())
        sides[1].extend(drawn[a:].tolist())
    return np.array(sides[0], dtype=np.int64), np.array(sides[1], dtype=np.int64)

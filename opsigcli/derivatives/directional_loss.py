"""What a step along some direction does to every example's loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from opsigcli.objective.base import Objective

MEMBERS_MOVE = 0.5  # nats to first order


def swing(
    objective: Objective,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Loss difference across a pair's direction, ``ℓ_i(θ + εu) − ℓ_i(θ − εu)``, u ∝ mean g_A − mean g_B.

    ε is such that the mean losses of the two groups move ± .5 nat to first order. The weights are afterwards
    what they were.

    Args:
        objective: with the weights of the checkpoint loaded.
        first: positions of A.
        second: positions of B.
        positions: (M,) examples to watch.

    Returns:
        (M,) nats; zeros where the two groups' mean gradients are equal or not finite.
    """
    _, of_first = objective.mean_loss_and_gradient(first)
    _, of_second = objective.mean_loss_and_gradient(second)
    direction = [a - b for a, b in zip(of_first, of_second, strict=True)]
    square = float(torch.stack([part.double().square().sum() for part in direction]).sum())
    if not (np.isfinite(square) and square > 0):
        return np.zeros(len(positions), dtype=np.float32)
    # ‖g_A − g_B‖² is the distance the two mean losses part per unit of `direction`.
    scale = 2 * MEMBERS_MOVE / square
    before = [parameter.detach().clone() for parameter in objective.parameters]
    try:
        up = _shifted(objective, before, direction, scale, positions)
        down = _shifted(objective, before, direction, -scale, positions)
    finally:
        _put(objective, before)
    return np.asarray(up - down, dtype=np.float32)


def step_parts(
    objective: Objective,
    start: torch.Tensor,
    end: torch.Tensor,
    basis: torch.Tensor,
    positions: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Parts of each example's loss delta over a step, along orthonormal directions v_j and outside of them all.

    ``ℓ_i(m + d_j/2) − ℓ_i(m − d_j/2)`` with ``m = (θ + θ′)/2``, ``d_j = v_j v_jᵀ(θ′ − θ)``, and d_{k+1} the rest of
    the step: ``(g_i(m)·v_j)(v_jᵀ(θ′ − θ))`` but for third derivatives. They add up to ``ℓ_i(θ′) − ℓ_i(θ)`` where the
    loss is quadratic on the step, or the step lies along one direction; elsewhere what is lacking is of third order
    in its length. No derivative is taken, so that BatchNorm's statistics move with the weights. The weights are
    afterwards what they were.

    Args:
        objective: with weights loaded.
        start: θ (P,), flat over ``objective.parameters``.
        end: θ′ (P,).
        basis: v (k, P), orthonormal.
        positions: (n,) examples.

    Returns:
        (k + 1, n) nats; the last row is outside of all directions.

    Reference:
        Kangaslahti, Rosenfeld & Saphra 2025, arXiv 2506.15872 (POLCA); Lan et al. 2019, arXiv 1909.01440, section 2.
    """
    step = end - start
    along = (basis @ step)[:, None] * basis
    before = [parameter.detach().clone() for parameter in objective.parameters]

    def split(vector: torch.Tensor) -> list[torch.Tensor]:
        pieces = torch.split(vector, [p.numel() for p in before])
        return [piece.view_as(p) for piece, p in zip(pieces, before, strict=True)]

    middle, found = split((start + end) / 2), []
    try:
        for part in (*along, step - along.sum(dim=0)):
            up, down = (
                _shifted(objective, middle, split(part), half, positions).astype(np.float64)
                for half in (0.5, -0.5)
            )
            found.append(up - down)
    finally:
        _put(objective, before)
    return np.stack(found)


def _shifted(
    objective: Objective,
    weights: list[torch.Tensor],
    direction: list[torch.Tensor],
    scale: float,
    positions: NDArray[np.int64],
) -> NDArray[np.float32]:
    _put(objective, [w + scale * d for w, d in zip(weights, direction, strict=True)])
    return objective.losses(positions)


@torch.no_grad()
def _put(objective: Objective, weights: list[torch.Tensor]) -> None:
    for parameter, value in zip(objective.parameters, weights, strict=True):
        parameter.copy_(value)

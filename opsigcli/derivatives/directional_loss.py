"""What a small step along a pair's direction does to every example: a test that needs one checkpoint only."""

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

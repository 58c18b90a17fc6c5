"""Curvature along the gradients of minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from opsigcli.derivatives.double_backward import (
    derivative_along,
    second_derivatives,
    twice_differentiable_gradient,
)
from opsigcli.objective.base import Objective

FEWEST, MOST = 16, 256  # batches
PRECISION = 0.03  # standard error aimed at, relative to the mean


class BatchSharpness(NamedTuple):
    """Mean curvature along minibatch gradients."""

    mean: float
    error: float  # standard error
    batches: int


def batch_sharpness(
    objective: Objective,
    batch_size: int,
    *,
    positions: NDArray[np.int64] | None = None,
    seed: int = 0,
    enough: Callable[[], bool] = lambda: False,
) -> BatchSharpness:
    """Batch sharpness ``E_B[g_Bᵀ H_B g_B / ‖g_B‖²]`` over random batches of B examples.

    g_B and H_B are gradient and Hessian of the batch's own mean loss. Batches are drawn without replacement, as an
    epoch does, until the standard error is 3 % of the mean, at least 16 and at most 256. Minibatch SGD settles where
    this is 2/η, and the sharpness of the full loss below it.

    Args:
        objective: with the weights loaded.
        batch_size: B.
        positions: the examples to draw from; None is all.
        seed: of the batches.
        enough: asked after each batch whether to stop early.

    Reference:
        Andreyev & Beneventano 2024, arXiv 2412.20553, section 3.
    """
    rng = np.random.default_rng(seed)
    pool = objective.counted if positions is None else positions
    objective.settle()
    values: list[float] = []
    while len(values) < MOST:
        batch = rng.choice(pool, min(batch_size, len(pool)), replace=False)
        values.append(_along_gradient(objective, batch))
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
        if (len(values) >= FEWEST and error <= PRECISION * abs(np.mean(values))) or enough():
            break
    return BatchSharpness(float(np.mean(values)), error, len(values))


def _along_gradient(objective: Objective, batch: NDArray[np.int64]) -> float:
    """``gᵀHg / ‖g‖²`` of one batch, in micro-batches: H g needs the whole g first."""
    parameters = objective.parameters
    _, gradient = objective.mean_loss_and_gradient(batch)
    squares = sum(float(g.double().square().sum()) for g in gradient)
    if squares == 0:
        return 0.0
    product = 0.0
    with second_derivatives(objective.model), torch.enable_grad():
        for inputs, targets in objective.batches(batch):
            own = twice_differentiable_gradient(objective, parameters, inputs, targets, objective.mass(batch))
            rows = derivative_along(own, gradient, parameters)
            product += sum(
                float((row.double() * g).sum())
                for row, g in zip(rows, gradient, strict=True)
                if row is not None
            )
    return product / squares

"""Each example's slope and curvature along a direction in weight space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.double_backward import second_derivatives
from opsigcli.objective.base import Objective

Float32s = NDArray[np.float32]


class Along(NamedTuple):
    """What the loss of each example does along a direction v."""

    slopes: Float32s  # (n,) v·g_i
    curvatures: Float32s  # (n,) vᵀH_i v


def directional_derivatives(
    objective: Objective,
    direction: Tensor,
    positions: NDArray[np.int64] | None = None,
    parallel: DataParallel | None = None,
) -> Along:
    """Slopes ``v·∇ℓ_i`` and curvatures ``vᵀ∇²ℓ_i v`` of single examples at the weights that are loaded.

    Where examples have weights, ℓ_i is the example's term in the mean, w_i ℓ_i over the mean of w.

    Their means over all examples are ``v·g`` and ``vᵀHv`` exactly, so that for a top eigenvector of the mean loss's
    Hessian the mean curvature is its eigenvalue. Both come from ``Σ_i w_i ℓ_i``: its first and second derivative
    along v are linear in w, and their gradients with respect to w are the answer. That is three reverse passes over
    each other; forward mode twice would be cheaper, but gave wrong values on a transformer.

    Args:
        objective: with the weights loaded.
        direction: v (P,), flat over ``objective.parameters``.
        positions: n examples; None is all.
        parallel: the processes that share the examples; every one of them gets all the numbers.

    Raises:
        CurvatureError: the model cannot be differentiated twice.
    """
    objective.settle()
    sizes = [p.numel() for p in objective.parameters]
    parts = torch.split(direction.to(objective.device, objective.dtype), sizes)
    tangents = {
        name: part.view_as(p)
        for name, part, p in zip(objective.parameter_names, parts, objective.parameters, strict=True)
    }
    everything = objective.counted if positions is None else positions
    parallel = parallel or DataParallel()
    # One row of slopes and one of curvatures; what other processes look at is zero here until all is added up.
    found_all = torch.zeros(2, len(everything), device=objective.device, dtype=objective.dtype)
    own = parallel.shard(np.arange(len(everything)))
    at = int(own[0]) if len(own) else 0
    for inputs, targets in objective.batches(everything[own]):
        found = _along_batch(objective, tangents, inputs, targets)
        found_all[:, at : at + len(targets)] = torch.stack([part.detach() for part in found])
        at += len(targets)
    found_all *= len(everything) / (objective.mass(everything) or 1.0)
    slopes, curvatures = parallel.all_reduce(found_all).float().cpu().numpy()
    return Along(slopes, curvatures)


def _along_batch(
    objective: Objective, tangents: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Slopes and curvatures (B,) of one batch."""
    weights = torch.ones(len(targets), device=objective.device, dtype=objective.dtype, requires_grad=True)
    with second_derivatives(objective.model), torch.enable_grad():
        total = (weights * objective.loss_fn(objective.outputs(inputs), targets)).sum()
        first = _derivative(objective, total, tangents)
        second = _derivative(objective, first, tangents)
        zero = torch.zeros_like(weights)
        slopes = torch.autograd.grad(first, weights, retain_graph=True, allow_unused=True)[0]
        curvatures = (
            torch.autograd.grad(second, weights, allow_unused=True)[0] if second.requires_grad else None
        )
    return zero if slopes is None else slopes, zero if curvatures is None else curvatures


def _derivative(objective: Objective, value: Tensor, tangents: dict[str, Tensor]) -> Tensor:
    if not value.requires_grad:
        return value.new_zeros(())
    parts = torch.autograd.grad(value, objective.parameters, create_graph=True, allow_unused=True)
    terms = [(part * v).sum() for part, v in zip(parts, tangents.values(), strict=True) if part is not None]
    return torch.stack(terms).sum() if terms else value.new_zeros(())

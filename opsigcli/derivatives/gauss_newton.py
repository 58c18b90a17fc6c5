"""Products with the generalized Gauss–Newton matrix of the mean loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.double_backward import second_derivatives
from opsigcli.derivatives.fast_conv_bn import cheap_derivatives
from opsigcli.objective.base import Objective


class GaussNewtonOperator:
    """``v -> G v``, ``G = Σ_i w_i J_iᵀ (∇²_z ℓ_i) J_i / Σ_i w_i`` with J_i the Jacobian of the outputs z_i.

    ``H = G + R``: R holds the curvature of the outputs themselves, weighted with the output residuals. G has no
    negative eigenvalues for losses that are convex in the outputs.

    Args:
        objective: with the weights loaded.
        positions: the N examples; None is all.
        parallel: the processes that share the examples.

    Reference:
        Schraudolph 2002, Neural Computation 14(7), section 3; Papyan 2019, arXiv 1901.08244, section 2.
    """

    def __init__(
        self,
        objective: Objective,
        positions: NDArray[np.int64] | None = None,
        parallel: DataParallel | None = None,
    ) -> None:
        self.objective = objective
        self.size = sum(p.numel() for p in objective.parameters)
        self._parallel = parallel or DataParallel()
        everything = objective.counted if positions is None else positions
        self.mass = objective.mass(everything)
        self._positions = self._parallel.shard(everything)
        objective.settle()

    def __call__(self, vector: Tensor) -> Tensor:
        """``G v`` for a flat v (P,).

        ``J v`` is the derivative of ``Jᵀu``, which is linear in u, along v: reverse mode alone, as not every
        operation has forward mode.
        """
        objective = self.objective
        sizes = [p.numel() for p in objective.parameters]
        parts = [
            part.to(p).view_as(p)
            for p, part in zip(objective.parameters, torch.split(vector, sizes), strict=True)
        ]
        total = torch.zeros_like(vector)
        with second_derivatives(objective.model), objective.statistics(), torch.enable_grad():
            for inputs, targets in objective.batches(self._positions):
                product = self._batch(parts, inputs, targets)
                for piece, part in zip(torch.split(total, sizes), product, strict=True):
                    if part is not None:
                        piece.add_(part.reshape(-1))
        return self._parallel.all_reduce(total)

    def _batch(self, vector: list[Tensor], inputs: Tensor, targets: Tensor) -> Sequence[Tensor | None]:
        objective, parameters = self.objective, self.objective.parameters
        with cheap_derivatives():
            z = objective.outputs(inputs)
        if not z.requires_grad:
            return [None] * len(parameters)
        u = torch.zeros_like(z, requires_grad=True)
        pulled = torch.autograd.grad(z, parameters, u, create_graph=True, allow_unused=True)
        used = [(g, v) for g, v in zip(pulled, vector, strict=True) if g is not None]
        (moved,) = torch.autograd.grad([g for g, _ in used], u, [v for _, v in used], retain_graph=True)
        at = z.detach().requires_grad_()
        loss = objective.loss_fn(at, targets).sum() / self.mass
        (slope,) = torch.autograd.grad(loss, at, create_graph=True)
        if not slope.requires_grad:
            return [None] * len(parameters)
        (curved,) = torch.autograd.grad(slope, at, moved)
        return torch.autograd.grad(z, parameters, curved, allow_unused=True)

"""Products with the generalized Gauss–Newton matrix of the mean loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, jvp, vjp

from opsigcli.objective.base import Objective
from opsigcli.objective.share import Share
from opsigcli.objective.twice import second_derivatives


class GaussNewtonOperator:
    """``v -> G v``, ``G = (1/N) Σ_i J_iᵀ (∇²_z ℓ_i) J_i`` with J_i the Jacobian of the outputs z_i.

    ``H = G + R``: R holds the curvature of the outputs themselves, weighted with the output residuals. G has no
    negative eigenvalues for losses that are convex in the outputs.

    Args:
        objective: with the weights loaded.
        positions: the N examples; None is all.
        share: the examples this process sums over.

    Reference:
        Schraudolph 2002, Neural Computation 14(7), section 3; Papyan 2019, arXiv 1901.08244, section 2.
    """

    def __init__(
        self, objective: Objective, positions: NDArray[np.int64] | None = None, share: Share | None = None
    ) -> None:
        self.objective = objective
        self.size = sum(p.numel() for p in objective.parameters)
        self._share = share or Share()
        everything = objective.counted if positions is None else positions
        self.n = len(everything)
        self._positions = self._share.positions(everything)
        objective.settle()

    def __call__(self, vector: Tensor) -> Tensor:
        """``G v`` for a flat v (P,)."""
        objective = self.objective
        named = list(zip(objective.parameter_names, objective.parameters, strict=True))
        weights = {name: p.detach() for name, p in named}
        sizes = [p.numel() for _, p in named]
        tangents = {
            name: part.to(p).view_as(p)
            for (name, p), part in zip(named, torch.split(vector, sizes), strict=True)
        }
        total = torch.zeros_like(vector)
        with second_derivatives(objective.model), objective.statistics():
            for inputs, targets in objective.batches(self._positions):
                product = self._batch(weights, tangents, inputs, targets)
                for piece, name in zip(torch.split(total, sizes), weights, strict=True):
                    piece.add_(product[name].reshape(-1))
        return self._share.add(total)

    def _batch(
        self, weights: dict[str, Tensor], tangents: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        objective, n = self.objective, self.n

        def outputs(w: dict[str, Tensor]) -> Tensor:
            return objective.outputs(inputs, w)

        def mean_loss(z: Tensor) -> Tensor:
            return objective.loss_fn(z, targets).sum() / n

        z, moved = jvp(outputs, (weights,), (tangents,))[:2]
        curved: Tensor = jvp(grad(mean_loss), (z.detach(),), (moved.detach(),))[1]
        pull = vjp(outputs, weights)[1]
        product: dict[str, Tensor] = pull(curved.detach())[0]
        return product

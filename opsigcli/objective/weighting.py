"""Weights of examples in the mean loss: they travel with the targets, so that they reach every use of the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from opsigcli.objective.losses.base import ExampleLoss


def weighted(loss: ExampleLoss, like: Tensor) -> ExampleLoss:
    """``w_i ℓ_i``, for targets that ``pack_weights`` made.

    Args:
        loss: of examples and their targets alone.
        like: some targets (B, …) before they were packed.
    """
    shape, floating = like.shape[1:], like.is_floating_point()

    def call(outputs: Tensor, packed: Tensor) -> Tensor:
        targets = packed[:, :-1].reshape(-1, *shape)
        targets = targets.to(outputs.dtype) if floating else targets.long()
        return loss(outputs, targets) * packed[:, -1].to(outputs.dtype)

    return call


def pack_weights(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets (B, …) of K entries with the weight of each example behind them, (B, K + 1) float64."""
    return torch.cat([targets.reshape(len(targets), -1).double(), weights.double()[:, None]], dim=1)

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
    own = unweighted(loss, like)

    def call(outputs: Tensor, packed: Tensor) -> Tensor:
        return own(outputs, packed) * packed[:, -1].to(outputs.dtype)

    return call


def unweighted(loss: ExampleLoss, like: Tensor) -> ExampleLoss:
    """``ℓ_i``, for the same targets and with the same arguments as ``weighted``."""
    shape, floating = like.shape[1:], like.is_floating_point()

    def call(outputs: Tensor, packed: Tensor) -> Tensor:
        targets = packed[:, :-1].reshape(-1, *shape)
        return loss(outputs, targets.to(outputs.dtype) if floating else targets.long())

    return call


def pack_weights(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets (B, …) of K entries with the weight of each example behind them, (B, K + 1) float64."""
    return torch.cat([targets.reshape(len(targets), -1).double(), weights.double()[:, None]], dim=1)

"""What a forward pass costs, counted and not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Ints

TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
PRODUCTS = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.MultiheadAttention


def operations(objective: Objective, one: Ints) -> float:
    """Operations of a forward pass over one example: two for each place that a layer's weights are multiplied at.

    Layers are linear ones, convolutions and attention; what else a model computes is left out, and two for each weight
    are counted at least. torch's own counter takes a second to load its compiler.

    Args:
        objective: with weights; it is settled by this.
        one: (1,) its position.
    """
    objective.settle()
    inputs, counted = objective.read(one), 0

    def count(layer: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        nonlocal counted
        at = given[0] if isinstance(layer, TRANSPOSED) else out[0] if isinstance(out, tuple) else out
        for weight in layer.parameters():
            if weight.ndim > 1:  # a place is a pixel, or a token
                counted += 2 * weight.numel() * at.numel() // at.shape[1 if weight.ndim > 2 else -1]

    layers = [layer for layer in objective.model.modules() if isinstance(layer, PRODUCTS)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            objective.model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    weights = sum(parameter.numel() for parameter in objective.model.parameters())
    return float(max(counted, 2 * weights, 1))

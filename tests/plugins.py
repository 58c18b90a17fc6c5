"""What an installed package could add to the tables of opsig."""

from __future__ import annotations

import math
from typing import Any

import torch


def plugin_model(spec: Any, input_shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    """A model of a plug-in."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(input_shape), outputs))


def plugin_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A loss of a plug-in."""
    return outputs.square().sum(1) + targets

"""Per-example gradients of biases and of norm layers, from what went into a module and what came back at its output."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def small_gradients(module: nn.Module, went_in: Tensor, came_back: Tensor) -> dict[str, Tensor]:
    """Gradients of every example with respect to a module's small parameters, by their names in it, (B, n) each.

    A bias adds to every place: ``Σ_p δ_p``. The weight of a norm layer scales what it normalised: ``Σ_p δ_p x̂_p``.

    Args:
        module: a linear, convolutional or norm layer.
        went_in: (B, …) its input.
        came_back: (B, …) gradient of the losses' sum with respect to its output.
    """
    found = {}
    if getattr(module, "bias", None) is not None:
        found["bias"] = _over_places(module, came_back)
    if isinstance(module, NORMS) and getattr(module, "weight", None) is not None:
        found["weight"] = _over_places(module, came_back * _normalised(module, went_in))
    return found


def _normalised(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, None, None, module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, None, None, module.eps)
    assert isinstance(module, _BatchNorm), "only norm layers normalise"
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        return torch.full_like(x, torch.nan)  # of the batch: what an example gives is not its own
    return F.batch_norm(x, mean, variance, None, None, False, 0.0, module.eps)


def _over_places(module: nn.Module, values: Tensor) -> Tensor:
    """The sum over all but examples and the module's own axes, (B, n)."""
    if isinstance(module, nn.LayerNorm):
        return values.reshape(len(values), -1, *module.normalized_shape).sum(dim=1).flatten(1)
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, values.shape[-1]).sum(dim=1)
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values

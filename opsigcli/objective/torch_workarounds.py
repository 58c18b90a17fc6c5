"""Functions of torch whose derivatives are missing or wrong, by others with the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Workarounds(TorchFunctionMode):
    """Within this context these functions can be differentiated, twice as well."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


def affine(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """A normalisation with given statistics is ``s·x + t``: ``s = γ / √(σ² + ε)`` and ``t = β − s·μ``, (channels,)."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    offset = -mean * scale
    return scale, offset if bias is None else offset + bias


def fixed_affine(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor] | None:
    """s and t of a call of ``F.batch_norm`` with these arguments; None where the statistics are those of the batch."""
    if training or running_mean is None or running_var is None:
        return None
    return affine(running_mean, running_var, weight, bias, eps)


def by_channel(input: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """``s·x + t``."""
    shape = (1, -1) + (1,) * (input.ndim - 2)
    return torch.addcmul(offset.view(shape), input, scale.view(shape))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``; torch's own cannot be differentiated twice."""
    found = F.relu6(input + 3) / 6
    return input.copy_(found) if inplace else found


def _normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """``x / max(‖x‖, ε)``, as ``x / √max(‖x‖², ε²)``: where a token is padding, the norm has no derivative."""
    if p != 2 or out is not None or eps * eps < torch.finfo(input.dtype).tiny:
        return F.normalize(input, p, dim, eps, out)
    return input / input.square().sum(dim, keepdim=True).clamp_min(eps * eps).sqrt()


def _batch_norm(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """On a CPU, torch's gradient is wrong for one example, where what comes back was transposed on the way."""
    found = fixed_affine(*args, **kwargs) if len(input) == 1 else None
    return F.batch_norm(input, *args, **kwargs) if found is None else by_channel(input, *found)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """A BatchNorm of one example inside, and wrong alike."""
    if use_input_stats and running_mean is None:
        return F.group_norm(input, input.shape[1], weight, bias, eps)
    if not use_input_stats and running_mean is not None and running_var is not None:
        return by_channel(input, *affine(running_mean, running_var, weight, bias, eps))
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``v · (g / ‖v‖)``, the norm over all but ``dim`` (-1: over all); torch's own second derivative is wrong on a CPU.

    ``torch.nn.utils.weight_norm`` and the parametrization of that name both come here.
    """
    axes = [axis for axis in range(v.ndim) if axis != dim or dim == -1]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.hardsigmoid: _hardsigmoid,
    F.normalize: _normalize,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    torch._weight_norm: _weight_norm,
}

"""Functions of torch that lack second derivatives, by others that have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Smooth(TorchFunctionMode):
    """Within this context those functions give the same values, and derivatives of any order."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _WRITTEN.get(func, func)(*args, **(kwargs or {}))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``; torch's own cannot be differentiated twice."""
    found = F.relu6(input + 3) / 6
    return input.copy_(found) if inplace else found


def _normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """``x / max(‖x‖, ε)``, as ``x / √max(‖x‖², ε²)``: where a token is padding, the norm has none."""
    if p != 2 or out is not None or eps * eps < torch.finfo(input.dtype).tiny:
        return F.normalize(input, p, dim, eps, out)
    return input / input.square().sum(dim, keepdim=True).clamp_min(eps * eps).sqrt()


_WRITTEN: dict[Callable[..., Any], Callable[..., Any]] = {
    F.hardsigmoid: _hardsigmoid,
    F.normalize: _normalize,
}

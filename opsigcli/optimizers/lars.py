"""SGD whose steps follow the norm of each tensor's weights (LARS, and LARC, as timm has them)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys, l2_penalty
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold
from opsigcli.optimizers.nesterov import nesterov_threshold

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.timm_rules import Lars

    return Lars(parameters, **hyper)


def lars_threshold(hyper: Hyper) -> float:
    """SGD's threshold without decay, for the Hessian preconditioned by the trust ratios."""
    plain = {**hyper, "weight_decay": 0.0}
    return nesterov_threshold(plain) if hyper["nesterov"] else heavy_ball_threshold(plain)


def trust_ratio(weight: Tensor, gradient: Tensor, hyper: Hyper) -> float:
    """``r = c‖θ‖ / (‖g‖ + w‖θ‖ + ε)`` of one tensor, which multiplies ``g + wθ``; LARC clips ηr at η.

    It is 1 where θ or g is 0, and for tensors without decay unless the rule always adapts.

    Reference: You et al. 2017, Large Batch Training of Convolutional Networks, equation 6.
    """
    size, slope = float(weight.detach().norm()), float(gradient.detach().norm())
    if not (hyper["weight_decay"] or hyper["always_adapt"]):
        return 1.0
    ratio = 1.0
    if size > 0 and slope > 0:
        ratio = hyper["trust_coeff"] * size / (slope + size * hyper["weight_decay"] + hyper["eps"])
    return min(ratio / hyper["lr"], 1.0) if hyper["trust_clip"] else float(ratio)


def lars_weights(weights: Sequence[Tensor], gradient: Sequence[Tensor], hyper: Hyper) -> list[float]:
    """``1 / r`` for each tensor."""
    return [1 / trust_ratio(p, g, hyper) for p, g in zip(weights, gradient, strict=True)]


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


LARS = Optimizer(
    "lars",
    defaults={
        **PLAIN,
        "momentum": 0.0,
        "dampening": 0.0,
        "nesterov": False,
        "trust_coeff": 1e-3,
        "eps": 1e-8,
        "trust_clip": False,
        "always_adapt": False,
    },
    make=_make,
    limit=lars_threshold,
    recognise=_recognise,
    layout=replace(LAYOUT, group=LAYOUT.group | {"trust_coeff", "eps", "trust_clip", "always_adapt"}),
    weigh_tensors=lars_weights,
    added=l2_penalty,
)

"""Sharpness-aware minimisation around SGD: the gradient is taken at ``θ + ρ g/‖g‖``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold
from opsigcli.optimizers.nesterov import nesterov_threshold

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SAM_LAYOUT = replace(LAYOUT, group=LAYOUT.group | {"rho", "adaptive"}, state=LAYOUT.state | {"old_p", "e_w"})


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.own_rules import Sam

    return Sam(parameters, **hyper)


def sam_threshold(hyper: Hyper) -> float:
    """The threshold of the SGD that steps along SAM's gradient, for the curvature that SAM sees."""
    return nesterov_threshold(hyper) if hyper["nesterov"] else heavy_ball_threshold(hyper)


def sam_magnifies(sharpness: float, gradient_norm: float, hyper: Hyper) -> float:
    """SAM sees the curvature λ as ``λ (1 + ρλ/‖g‖)``: the factor, 1 where λ is not positive.

    With plain steps it is stable while ``ηλ (1 + ρλ/‖g‖) < 2``.

    Reference: Long & Bartlett 2023, Sharpness-Aware Minimization and the Edge of Stability, arXiv 2309.12488.
    """
    if sharpness <= 0 or not hyper["rho"]:
        return 1.0
    return 1 + hyper["rho"] * sharpness / gradient_norm if gradient_norm > 0 else float("inf")


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return None if group["adaptive"] else ""


SAM = Optimizer(
    "sam",
    defaults={**PLAIN, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "rho": 0.05},
    make=_make,
    limit=sam_threshold,
    recognise=_recognise,
    layout=SAM_LAYOUT,
    magnify=sam_magnifies,
    whole=True,
)

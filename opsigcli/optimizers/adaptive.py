"""Optimizers that precondition with second moments of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from opsigcli.optimizers.base import Hyper, Optimizer

_ADAM = {"lr": float("nan"), "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}


def _make_adam(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, **hyper)


def _make_adamw(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, **hyper)


def _make_rmsprop(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, **hyper)


def _penalty(hyper: Hyper) -> float:
    return float(hyper["weight_decay"])


def adam_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``(2 + 2β₁) / ((1 − β₁) η)``, 38/η at β₁ = 0.9.

    Reference: Cohen et al. 2022, Adaptive Gradient Methods at the Edge of Stability, section 3.
    """
    beta = hyper["betas"][0]
    return float((2 + 2 * beta) / ((1 - beta) * hyper["lr"]))


def adamw_threshold(hyper: Hyper) -> float:
    """Adam's threshold times ``1 − ηw/2``.

    With ``m ← β₁m + (1 − β₁)g, θ ← (1 − ηw)θ − ηP⁻¹m`` the iteration matrix has determinant β₁(1 − ηw) and
    trace ``β₁ + 1 − ηw − η(1 − β₁)λ``; it is stable while ``−trace < 1 + determinant``.
    """
    return adam_threshold(hyper) * float(1 - hyper["lr"] * hyper["weight_decay"] / 2)


def rmsprop_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``(2 + 2β) / η`` with momentum β, 2/η without.

    Reference: Cohen et al. 2022, section 3.
    """
    return float((2 + 2 * hyper["momentum"]) / hyper["lr"])


def adam_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (1 − β₁ᵗ) (√(v / (1 − β₂ᵗ)) + ε)`` after update t, so that the update was ``−η m / p``.

    v is the largest second moment so far where the state holds it (AMSGrad).

    Reference: Cohen et al. 2022, equation 2.
    """
    second = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
    step = float(state.get("step", 0))
    if second is None or step < 1:
        return None
    first_beta, second_beta = hyper["betas"]
    unbiased: Tensor = second / (1 - second_beta**step)
    return unbiased.sqrt().add(hyper["eps"]).mul(1 - first_beta**step)


def rmsprop_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = √v + ε``, so that the update without momentum was ``−η g / p``; v − ḡ² where the state holds ḡ."""
    second: Tensor | None = state.get("square_avg")
    if second is None or float(state.get("step", 1)) < 1:
        return None
    if (mean := state.get("grad_avg")) is not None:
        second = (second - mean.square()).clamp_min(0)
    return second.sqrt().add(hyper["eps"])


ADAM = Optimizer("adam", _ADAM, _make_adam, adam_threshold, adam_weights, _penalty)
ADAMW = Optimizer("adamw", {**_ADAM, "weight_decay": 0.01}, _make_adamw, adamw_threshold, adam_weights)
RMSPROP = Optimizer(
    "rmsprop",
    {"lr": float("nan"), "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
    _make_rmsprop,
    rmsprop_threshold,
    rmsprop_weights,
    _penalty,
)

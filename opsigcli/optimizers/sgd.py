"""Gradient descent and its momentum variants.

An L2 penalty adds its coefficient w to every eigenvalue of H, so the threshold for H itself is lower by w.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opsigcli.optimizers.base import Hyper, Optimizer

_PLAIN = {"lr": float("nan"), "weight_decay": 0.0}


def _dampening(hyper: Hyper) -> float:
    """τ in ``m ← βm + (1 − τ)g``; the average of gradients, τ = β, unless given."""
    given = hyper.get("dampening", 0.0)
    return float(hyper["momentum"] if given is None else given)


def _make(parameters: list[Tensor], hyper: Hyper, nesterov: bool = False) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=hyper["lr"],
        momentum=hyper.get("momentum", 0.0),
        dampening=_dampening(hyper),
        nesterov=nesterov,
        weight_decay=hyper["weight_decay"],
    )


def _make_nesterov(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    return _make(parameters, hyper, nesterov=True)


def heavy_ball_threshold(hyper: Hyper) -> float:
    """Threshold of ``m ← βm + (1 − τ)g, θ ← θ − ηm``: ``(2 + 2β) / ((1 − τ) η) − w``; 2/η − w at β = τ = 0.

    Reference: Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability, appendix B.
    """
    beta = hyper.get("momentum", 0.0)
    return float((2 + 2 * beta) / ((1 - _dampening(hyper)) * hyper["lr"]) - hyper["weight_decay"])


def nesterov_threshold(hyper: Hyper) -> float:
    """Threshold of ``m ← βm + g, θ ← θ − η(g + βm)``: ``(2 + 2β) / ((1 + 2β) η) − w``.

    Reference: Cohen et al. 2021, appendix B.
    """
    beta = hyper["momentum"]
    return float((2 + 2 * beta) / ((1 + 2 * beta) * hyper["lr"]) - hyper["weight_decay"])


GD = Optimizer("gd", _PLAIN, _make, heavy_ball_threshold)
SGD = Optimizer("sgd", _PLAIN, _make, heavy_ball_threshold)
MOMENTUM = Optimizer("momentum", {**_PLAIN, "momentum": 0.9}, _make, heavy_ball_threshold)
NESTEROV = Optimizer("nesterov", {**_PLAIN, "momentum": 0.9}, _make_nesterov, nesterov_threshold)
DAMPENED = Optimizer("dampened", {**_PLAIN, "momentum": 0.9, "dampening": None}, _make, heavy_ball_threshold)

"""What gradient descent and its momentum variants share.

An L2 penalty adds its coefficient w to every eigenvalue of H, so the threshold for H itself is lower by w.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.optimizers.base import NO_RATE, Hyper
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PLAIN = {"lr": NO_RATE, "weight_decay": 0.0}
LAYOUT = Layout(
    group=frozenset({"lr", "momentum", "dampening", "nesterov", "weight_decay"}),
    state=frozenset({"momentum_buffer"}),
)  # of torch.optim.SGD


def make_sgd(parameters: list[Tensor], hyper: Hyper, *, nesterov: bool = False) -> torch.optim.Optimizer:
    """``torch.optim.SGD`` with these hyper-parameters."""
    import torch

    return torch.optim.SGD(
        parameters,
        lr=hyper["lr"],
        momentum=hyper.get("momentum", 0.0),
        dampening=_dampening(hyper),
        nesterov=nesterov and hyper["momentum"] > 0,  # without momentum it is the same, and torch refuses it
        weight_decay=hyper["weight_decay"],
    )


def kind_of_sgd(group: Hyper) -> str:
    """Which rule a parameter group of ``torch.optim.SGD`` follows."""
    if not group["momentum"]:
        return "sgd"
    if group["nesterov"]:
        return "nesterov"
    return "dampened" if group["dampening"] else "momentum"


def heavy_ball_threshold(hyper: Hyper) -> float:
    """Threshold of ``m ← βm + (1 − τ)g, θ ← θ − ηm``: ``(2 + 2β) / ((1 − τ) η) − w``; 2/η − w at β = τ = 0.

    Reference: Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability, appendix B.
    """
    beta = hyper.get("momentum", 0.0)
    return float((2 + 2 * beta) / ((1 - _dampening(hyper)) * hyper["lr"]) - hyper["weight_decay"])


def _dampening(hyper: Hyper) -> float:
    """τ in ``m ← βm + (1 − τ)g``; the average of gradients, τ = β, where it is None."""
    given = hyper.get("dampening", 0.0)
    return float(hyper["momentum"] if given is None else given)

"""Nesterov momentum: ``m ← βm + g, θ ← θ − η(g + βm)``."""

from __future__ import annotations

from functools import partial

from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, kind_of_sgd, make_sgd


def nesterov_threshold(hyper: Hyper) -> float:
    """Threshold of ``m ← βm + g, θ ← θ − η(g + βm)``: ``(2 + 2β) / ((1 + 2β) η) − w``.

    Reference: Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability, appendix B.
    """
    beta = hyper["momentum"]
    return float((2 + 2 * beta) / ((1 + 2 * beta) * hyper["lr"]) - hyper["weight_decay"])


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if kind_of_sgd(group) == "nesterov" else None


NESTEROV = Optimizer(
    "nesterov",
    defaults={**PLAIN, "momentum": 0.9},
    make=partial(make_sgd, nesterov=True),
    limit=nesterov_threshold,
    recognise=_recognise,
    layout=LAYOUT,
)

"""Momentum on an average of gradients: ``m ← βm + (1 − τ)g, θ ← θ − ηm``, with τ = β unless it is given."""

from __future__ import annotations

from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold, kind_of_sgd, make_sgd


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if kind_of_sgd(group) == "dampened" else None


DAMPENED = Optimizer(
    "dampened",
    defaults={**PLAIN, "momentum": 0.9, "dampening": None},
    make=make_sgd,
    limit=heavy_ball_threshold,
    recognise=_recognise,
    layout=LAYOUT,
)

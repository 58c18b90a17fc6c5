"""Heavy-ball momentum: ``m ← βm + g, θ ← θ − ηm``."""

from __future__ import annotations

from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold, kind_of_sgd, make_sgd


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if kind_of_sgd(group) == "momentum" else None


MOMENTUM = Optimizer(
    "momentum",
    defaults={**PLAIN, "momentum": 0.9},
    make=make_sgd,
    limit=heavy_ball_threshold,
    recognise=_recognise,
    layout=LAYOUT,
)

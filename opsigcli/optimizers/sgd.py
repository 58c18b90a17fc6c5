"""Stochastic gradient descent."""

from __future__ import annotations

from opsigcli.optimizers.base import Batch, Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold, kind_of_sgd, make_sgd


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if kind_of_sgd(group) == "sgd" else None


SGD = Optimizer(
    "sgd",
    defaults=PLAIN,
    make=make_sgd,
    limit=heavy_ball_threshold,
    recognise=_recognise,
    layout=LAYOUT,
    keeps_state=False,
    batch=Batch.MINI,
)

"""Gradient descent on the full batch."""

from __future__ import annotations

from opsigcli.optimizers.base import Batch, Optimizer
from opsigcli.optimizers.gradient_descent import PLAIN, heavy_ball_threshold, make_sgd

GD = Optimizer(
    "gd",
    defaults=PLAIN,
    make=make_sgd,
    limit=heavy_ball_threshold,
    recognise=None,  # a state does not tell the size of the batch: it is reported as sgd
    keeps_state=False,
    batch=Batch.FULL,
)

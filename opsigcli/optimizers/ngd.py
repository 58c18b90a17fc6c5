"""Normalised gradient descent: steps of one length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.optimizers.base import NO_RATE, Batch, Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import heavy_ball_threshold
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.own_rules import NormalisedGD

    return NormalisedGD(parameters, **hyper)


def ngd_threshold(hyper: Hyper) -> float:
    """2/η, of the curvature as the rule sees it: ``λ/‖g‖``."""
    return heavy_ball_threshold({**hyper, "weight_decay": 0.0})


def ngd_magnifies(sharpness: float, gradient_norm: float, hyper: Hyper) -> float:
    """``1/‖g‖``: the rule is gradient descent with a learning rate of η/‖g‖, so its threshold is ``2‖g‖/η``.

    The gradient's length at the checkpoint is taken to stay as it is. It does not: as it falls, so does the threshold,
    and the rule always ends at its edge, where it goes to and fro by η.

    Reference: Arora, Li & Panigrahi 2022, Understanding Gradient Descent on Edge of Stability, arXiv 2205.09745.
    """
    return 1 / gradient_norm if gradient_norm > 0 else float("inf")


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


NGD = Optimizer(
    "ngd",
    defaults={"lr": NO_RATE},
    make=_make,
    limit=ngd_threshold,
    recognise=_recognise,
    layout=Layout(group=frozenset({"lr", "normalised"})),
    magnify=ngd_magnifies,
    keeps_state=False,
    batch=Batch.EITHER,
    whole=True,
)

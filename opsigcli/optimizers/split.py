"""Gradient descent on small coordinates of an averaged gradient, sign descent on the large ones.

The rule by which Rosenfeld & Risteski 2023 (arXiv 2311.04163) part what Adam does; its form as remembered, with
constants of our own. It shares only its name with SplitSGD of Sordello & Su.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import heavy_ball_threshold
from opsigcli.optimizers.layout import Layout

BARRED = 1e30  # in place of ∞: of it and more nothing is left in 32 bits

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.own_rules import Split

    dampening = hyper["momentum"] if hyper["dampening"] is None else hyper["dampening"]
    return Split(parameters, **{**hyper, "dampening": dampening})


def split_threshold(hyper: Hyper) -> float:
    """Dampened momentum's ``(2 + 2β) / ((1 − τ) η)``, for the Hessian of the coordinates that step along m.

    Those that step by sign move by η₂ each update whatever the curvature, so they cannot run away.
    """
    return heavy_ball_threshold({**hyper, "weight_decay": 0.0})


def split_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """1 for coordinates that stepped along m, ∞ for those that stepped by sign: their curvature does not count."""
    large = state.get("by_sign")
    return None if large is None else large.double() * BARRED + 1


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


SPLIT = Optimizer(
    "split",
    defaults={"lr": NO_RATE, "momentum": 0.9, "dampening": None, "sign_lr": 1e-3, "quantile": 0.9},
    make=_make,
    limit=split_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "momentum", "dampening", "sign_lr", "quantile"}),
        state=frozenset({"momentum_buffer", "by_sign"}),
    ),
    weigh=split_weights,
    whole=True,
    below_one=("momentum", "dampening", "quantile"),
)

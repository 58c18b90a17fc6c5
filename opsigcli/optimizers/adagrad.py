"""Adagrad, which divides by the root of the sum of squared gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUM = "sum"


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.Adagrad(parameters, **hyper)


def adagrad_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``2 / η``."""
    return float(2 / hyper["lr"])


def adagrad_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (√s + ε)(1 + (t − 1) d)`` after update t, with lr decay d, so that the update was ``−η g / p``.

    Reference: Duchi et al. 2011, Adaptive Subgradient Methods for Online Learning.
    """
    total, step = state.get(SUM), float(state.get("step", 0))
    if total is None or step < 1:
        return None
    found: Tensor = total.sqrt().add(hyper["eps"]).mul(1 + (step - 1) * hyper["lr_decay"])
    return found


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


ADAGRAD = Optimizer(
    "adagrad",
    defaults={
        "lr": NO_RATE,
        "lr_decay": 0.0,
        "weight_decay": 0.0,
        "initial_accumulator_value": 0.0,
        "eps": 1e-10,
    },
    make=_make,
    limit=adagrad_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"}),
        state=frozenset({"step", SUM}),
        needs=frozenset({SUM}),
    ),
    weigh=adagrad_weights,
    second_moment=SUM,
    added=l2_penalty,
)

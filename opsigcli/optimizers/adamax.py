"""Adam with the largest gradient in place of the second moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adam import adam_threshold
from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LARGEST = "exp_inf"


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.Adamax(parameters, **hyper)


def adamax_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (1 − β₁ᵗ) u`` after update t, with ``u ← max(β₂u, |g| + ε)``, so that the update was ``−η m / p``.

    Reference: Kingma & Ba 2015, Adam: A Method for Stochastic Optimization, section 7.1.
    """
    largest, step = state.get(LARGEST), float(state.get("step", 0))
    if largest is None or step < 1:
        return None
    found: Tensor = largest * (1 - hyper["betas"][0] ** step)
    return found


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    # Before the first update many have these keys; torch's has those of how it computes as well.
    return "" if state_keys is not None or {"maximize", "differentiable"} <= group.keys() else None


ADAMAX = Optimizer(
    "adamax",
    defaults={"lr": NO_RATE, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    make=_make,
    limit=adam_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "betas", "eps", "weight_decay"}),
        state=frozenset({"step", "exp_avg", "exp_inf"}),
        needs=frozenset({"exp_inf"}),
    ),
    weigh=adamax_weights,
    second_moment=LARGEST,
    added=l2_penalty,
)

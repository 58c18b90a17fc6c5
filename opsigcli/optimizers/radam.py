"""Adam with a rectified learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adam import SECOND_MOMENT, adam_threshold
from opsigcli.optimizers.adamw import decoupled
from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, coupled_l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHORTEST = 5.0  # of the average of second moments, from which they are used


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.RAdam(parameters, **hyper)


def radam_threshold(hyper: Hyper) -> float:
    """Adam's threshold, or AdamW's where the decay is decoupled."""
    return adam_threshold(hyper) * (decoupled(hyper) if hyper["decoupled_weight_decay"] else 1.0)


def radam_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (1 − β₁ᵗ) (√v + ε) / (rₜ √(1 − β₂ᵗ))`` after update t, so that the update was ``−η m / p``.

    While the average of second moments is shorter than five updates, the rule does not divide by them: then
    ``p = 1 − β₁ᵗ``.

    Reference: Liu et al. 2020, On the Variance of the Adaptive Learning Rate and Beyond, algorithm 2.
    """
    second, step = state.get(SECOND_MOMENT), float(state.get("step", 0))
    if second is None or step < 1:
        return None
    first_beta, second_beta = hyper["betas"]
    left = 1 - first_beta**step
    longest = 2 / (1 - second_beta) - 1
    length = longest - 2 * step * second_beta**step / (1 - second_beta**step)
    if length <= SHORTEST:
        plain: Tensor = second.new_full(second.shape, left)
        return plain
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    found: Tensor = second.sqrt().add(hyper["eps"]).mul(left / sqrt(rectified * (1 - second_beta**step)))
    return found


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    # Many have these keys alone; torch 2.0, which had no decoupled decay, is told by those of how it computes.
    early = (
        {"foreach", "differentiable"} <= group.keys() and "maximize" not in group and state_keys is not None
    )
    return "" if "decoupled_weight_decay" in group or early else None


RADAM = Optimizer(
    "radam",
    defaults={
        "lr": NO_RATE,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
    },
    make=_make,
    limit=radam_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "betas", "eps", "weight_decay"}),
        some=frozenset({"decoupled_weight_decay"}),
        state=frozenset({"step", "exp_avg", "exp_avg_sq"}),
        needs=frozenset({"exp_avg_sq"}),
    ),
    weigh=radam_weights,
    second_moment=SECOND_MOMENT,
    added=coupled_l2_penalty,
)

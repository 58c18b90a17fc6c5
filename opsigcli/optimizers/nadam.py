"""Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adam import SECOND_MOMENT
from opsigcli.optimizers.adamw import decoupled
from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, coupled_l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

HALF_LIFE = 0.96  # μₜ = β₁ (1 − ½ · 0.96^(tψ))


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.NAdam(parameters, **hyper)


def nadam_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``(2 + 2β₁) / ((1 − β₁)(1 + 2β₁) η)``, where μₜ has come to β₁.

    It is Nesterov's on an average of gradients; decoupled decay lowers it as it does AdamW's.
    """
    beta = hyper["betas"][0]
    limit = float((2 + 2 * beta) / ((1 - beta) * (1 + 2 * beta) * hyper["lr"]))
    return limit * decoupled(hyper) if hyper["decoupled_weight_decay"] else limit


def nadam_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (√(v / (1 − β₂ᵗ)) + ε) / cₜ``, with cₜ such that the threshold is the same at every μₜ.

    The update is ``−η (a g + b m) / (√… + ε)`` with ``a = (1 − μₜ) / (1 − Πμ)`` and ``b = μₜ₊₁ / (1 − μₜ₊₁ Πμ)``. On a
    quadratic it has determinant ``β₁ − ηλβ₁a`` and trace ``1 + β₁ − ηλ(a + b(1 − β₁))``, and is stable while
    ``ηλ (a(1 + β₁) + b(1 − β₁)) < 2 + 2β₁``: cₜ is what multiplies ηλ, over its value ``(1 − β₁)(1 + 2β₁)`` at the end.
    """
    second, step = state.get(SECOND_MOMENT), float(state.get("step", 0))
    if second is None or step < 1 or "mu_product" not in state:  # the last is missing in Adam's
        return None
    beta, second_beta = hyper["betas"]
    mu, following = (
        beta * (1 - 0.5 * HALF_LIFE ** (at * hyper["momentum_decay"])) for at in (step, step + 1)
    )
    product = float(state["mu_product"])
    newest, average = (1 - mu) / (1 - product), following / (1 - following * product)
    factor = (newest * (1 + beta) + average * (1 - beta)) / ((1 - beta) * (1 + 2 * beta))
    unbiased: Tensor = second / (1 - second_beta**step)
    return unbiased.sqrt().add(hyper["eps"]).div(factor)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


NADAM = Optimizer(
    "nadam",
    defaults={
        "lr": NO_RATE,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
    },
    make=_make,
    limit=nadam_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "betas", "eps", "weight_decay", "momentum_decay"}),
        some=frozenset({"decoupled_weight_decay"}),
        state=frozenset({"step", "exp_avg", "exp_avg_sq", "mu_product"}),
        needs=frozenset({"exp_avg_sq", "mu_product"}),
    ),
    weigh=nadam_weights,
    second_moment=SECOND_MOMENT,
    added=coupled_l2_penalty,
)

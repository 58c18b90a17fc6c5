"""Adam, whose weight decay is an L2 penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFAULTS = {"lr": NO_RATE, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
SECOND_MOMENT = "exp_avg_sq"
LAYOUT = Layout(
    group=frozenset({"lr", "betas", "eps", "amsgrad", "weight_decay"}),
    some=frozenset({"decoupled_weight_decay"}),
    state=frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    needs=frozenset({"exp_avg_sq"}),
)


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.Adam(parameters, **hyper)


def adam_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``(2 + 2β₁) / ((1 − β₁) η)``, 38/η at β₁ = 0.9.

    Reference: Cohen et al. 2022, Adaptive Gradient Methods at the Edge of Stability, section 3.
    """
    beta = hyper["betas"][0]
    return float((2 + 2 * beta) / ((1 - beta) * hyper["lr"]))


def adam_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (1 − β₁ᵗ) (√(v / (1 − β₂ᵗ)) + ε)`` after update t, so that the update was ``−η m / p``.

    v is the largest second moment so far where the state holds it (AMSGrad).

    Reference: Cohen et al. 2022, equation 2.
    """
    second = state.get("max_exp_avg_sq", state.get(SECOND_MOMENT))
    step = float(state.get("step", 0))
    if second is None or step < 1:
        return None
    first_beta, second_beta = hyper["betas"]
    unbiased: Tensor = second / (1 - second_beta**step)
    return unbiased.sqrt().add(hyper["eps"]).mul(1 - first_beta**step)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    # Older versions of torch did not say whether the decay is decoupled; without decay it makes no difference.
    coupled = not group.get("decoupled_weight_decay", group.get("weight_decay"))
    return "" if coupled else None


ADAM = Optimizer(
    "adam",
    defaults=DEFAULTS,
    make=_make,
    limit=adam_threshold,
    recognise=_recognise,
    layout=LAYOUT,
    weigh=adam_weights,
    second_moment=SECOND_MOMENT,
    added=l2_penalty,
)

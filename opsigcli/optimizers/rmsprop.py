"""RMSprop, with or without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, l2_penalty
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SECOND_MOMENT = "square_avg"
DEFAULTS = {
    "lr": NO_RATE,
    "alpha": 0.99,
    "eps": 1e-8,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "centered": False,
}
LAYOUT = Layout(
    group=frozenset({"lr", "alpha", "centered", "eps", "momentum", "weight_decay"}),
    state=frozenset({"step", "square_avg", "momentum_buffer", "grad_avg"}),
    needs=frozenset({"square_avg"}),
)


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.RMSprop(parameters, **hyper)


def rmsprop_threshold(hyper: Hyper) -> float:
    """Threshold of the preconditioned Hessian: ``(2 + 2β) / η`` with momentum β, 2/η without.

    Reference: Cohen et al. 2022, Adaptive Gradient Methods at the Edge of Stability, section 3.
    """
    return float((2 + 2 * hyper["momentum"]) / hyper["lr"])


def rmsprop_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = √v + ε``, so that the update without momentum was ``−η g / p``; v − ḡ² where the state holds ḡ."""
    found = variance(state)
    return None if found is None else found.sqrt().add(hyper["eps"])


def variance(state: Mapping[str, Any]) -> Tensor | None:
    """v, or v − ḡ² where the state holds ḡ; None before the first update."""
    second: Tensor | None = state.get(SECOND_MOMENT)
    if second is None or float(state.get("step", 1)) < 1:
        return None
    mean = state.get("grad_avg")
    return second if mean is None else (second - mean.square()).clamp_min(0)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


RMSPROP = Optimizer(
    "rmsprop",
    defaults=DEFAULTS,
    make=_make,
    limit=rmsprop_threshold,
    recognise=_recognise,
    layout=LAYOUT,
    weigh=rmsprop_weights,
    second_moment=SECOND_MOMENT,
    added=l2_penalty,
    up_to_one=("alpha",),
)

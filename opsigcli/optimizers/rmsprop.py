"""RMSprop, with or without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, l2_penalty

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SECOND_MOMENT = "square_avg"
_GROUP = frozenset({"lr", "alpha", "centered", "eps", "momentum", "weight_decay"})


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
    second: Tensor | None = state.get(SECOND_MOMENT)
    if second is None or float(state.get("step", 1)) < 1:
        return None
    if (mean := state.get("grad_avg")) is not None:
        second = (second - mean.square()).clamp_min(0)
    return second.sqrt().add(hyper["eps"])


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if group.keys() >= _GROUP else None


RMSPROP = Optimizer(
    "rmsprop",
    defaults={"lr": NO_RATE, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
    make=_make,
    limit=rmsprop_threshold,
    recognise=_recognise,
    weigh=rmsprop_weights,
    second_moment=SECOND_MOMENT,
    added=l2_penalty,
    up_to_one=("alpha",),
)

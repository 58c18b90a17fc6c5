"""Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opsigcli.optimizers.adam import DEFAULTS, LAYOUT, SECOND_MOMENT, adam_threshold, adam_weights
from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.layout import TIMM

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    import torch

    return torch.optim.AdamW(parameters, **hyper)


def adamw_threshold(hyper: Hyper) -> float:
    """Adam's threshold times ``1 − ηw/2``.

    With ``m ← β₁m + (1 − β₁)g, θ ← (1 − ηw)θ − ηP⁻¹m`` the iteration matrix has determinant β₁(1 − ηw) and
    trace ``β₁ + 1 − ηw − η(1 − β₁)λ``; it is stable while ``−trace < 1 + determinant``.
    """
    return adam_threshold(hyper) * decoupled(hyper)


def decoupled(hyper: Hyper) -> float:
    """The factor ``1 − ηw/2`` by which decay that is decoupled lowers a threshold, as it does every one here."""
    return float(1 - hyper["lr"] * hyper["weight_decay"] / 2)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    if TIMM & group.keys():
        return ""  # timm's own class: its decay is always decoupled
    if "decoupled_weight_decay" in group:
        return "" if group["decoupled_weight_decay"] else None
    if not group["weight_decay"]:
        return None
    return "Adam or AdamW: the state does not tell; taken for AdamW, give --optimizer adam if it was Adam"


ADAMW = Optimizer(
    "adamw",
    defaults={**DEFAULTS, "weight_decay": 0.01},
    make=_make,
    limit=adamw_threshold,
    recognise=_recognise,
    layout=replace(LAYOUT, some=LAYOUT.some | TIMM),
    weigh=adam_weights,
    second_moment=SECOND_MOMENT,
)

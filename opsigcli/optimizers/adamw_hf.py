"""AdamW as transformers had it before version 5: ε beside the biased second moment, decay after the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adam import SECOND_MOMENT
from opsigcli.optimizers.adamw import ADAMW, adamw_threshold
from opsigcli.optimizers.base import NO_RATE, Hyper, StateKeys
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor


def adamw_hf_threshold(hyper: Hyper) -> float:
    """AdamW's threshold over ``1 − ηw``; −∞ where the decay leaves nothing.

    With ``m ← β₁m + (1 − β₁)g, θ ← (1 − ηw)(θ − ηP⁻¹m)`` the determinant is AdamW's, β₁(1 − ηw), and the trace
    ``β₁ + (1 − ηw)(1 − η(1 − β₁)λ)``.
    """
    left = 1 - hyper["lr"] * hyper["weight_decay"]
    return adamw_threshold(hyper) / left if left > 0 else -math.inf


def adamw_hf_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = (√v + ε)(1 − β₁ᵗ) / √(1 − β₂ᵗ)`` after update t; ``√v + ε`` where the rule corrects no bias."""
    second, step = state.get(SECOND_MOMENT), float(state.get("step", 0))
    if second is None or step < 1:
        return None
    first_beta, second_beta = hyper["betas"]
    factor = (1 - first_beta**step) / math.sqrt(1 - second_beta**step) if hyper["correct_bias"] else 1.0
    found: Tensor = second.sqrt().add(hyper["eps"]).mul(factor)
    return found


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


ADAMW_HF = replace(
    ADAMW,
    name="adamw_hf",
    defaults={
        "lr": NO_RATE,
        "betas": (0.9, 0.999),
        "eps": 1e-6,
        "weight_decay": 0.0,
        "correct_bias": True,
    },
    make=None,
    limit=adamw_hf_threshold,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "betas", "eps", "weight_decay", "correct_bias"}),
        state=frozenset({"step", "exp_avg", "exp_avg_sq"}),
        needs=frozenset({"exp_avg_sq"}),
    ),
    weigh=adamw_hf_weights,
)

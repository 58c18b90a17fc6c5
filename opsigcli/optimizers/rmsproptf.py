"""RMSprop as TensorFlow has it: ε within the root, the learning rate within the momentum (timm's RMSpropTF)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adamw import decoupled
from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys, coupled_l2_penalty
from opsigcli.optimizers.layout import TIMM
from opsigcli.optimizers.rmsprop import DEFAULTS, LAYOUT, SECOND_MOMENT, rmsprop_threshold, variance

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.timm_rules import RMSpropTF

    return RMSpropTF(parameters, **hyper)


def rmsproptf_threshold(hyper: Hyper) -> float:
    """RMSprop's threshold ``(2 + 2β) / η``, lowered by decoupled decay as AdamW's is."""
    limit = rmsprop_threshold(hyper)
    return limit * decoupled(hyper) if hyper["decoupled_decay"] else limit


def rmsproptf_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = √(v + ε)``, so that the update without momentum was ``−η g / p``; v − ḡ² where the state holds ḡ."""
    found = variance(state)
    return None if found is None else found.add(hyper["eps"]).sqrt()


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


RMSPROPTF = Optimizer(
    "rmsproptf",
    defaults={**DEFAULTS, "alpha": 0.9, "eps": 1e-10, "decoupled_decay": False, "lr_in_momentum": True},
    make=_make,
    limit=rmsproptf_threshold,
    recognise=_recognise,
    layout=replace(LAYOUT, group=LAYOUT.group | {"decoupled_decay", "lr_in_momentum"}, some=TIMM),
    weigh=rmsproptf_weights,
    second_moment=SECOND_MOMENT,
    added=coupled_l2_penalty,
    up_to_one=("alpha",),
)

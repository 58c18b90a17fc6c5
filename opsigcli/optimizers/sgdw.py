"""SGD, with or without momentum, with decoupled weight decay (timm's SGDW)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opsigcli.optimizers.adamw import decoupled
from opsigcli.optimizers.base import Hyper, Optimizer, StateKeys
from opsigcli.optimizers.gradient_descent import LAYOUT, PLAIN, heavy_ball_threshold
from opsigcli.optimizers.layout import TIMM
from opsigcli.optimizers.nesterov import nesterov_threshold

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.timm_rules import SGDW

    return SGDW(parameters, **hyper)


def sgdw_threshold(hyper: Hyper) -> float:
    """The threshold of heavy ball or Nesterov momentum without decay, times ``1 − ηw/2``.

    With ``θ ← (1 − ηw)θ − ηm`` the determinant is β(1 − ηw), or β(1 − ηw − ηλ) with Nesterov momentum; the rule is
    stable while ``−trace < 1 + determinant``. An L2 penalty lowers the threshold by w instead.
    """
    plain = {**hyper, "weight_decay": 0.0}
    limit = nesterov_threshold(plain) if hyper["nesterov"] else heavy_ball_threshold(plain)
    return limit * decoupled(hyper)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


SGDW = Optimizer(
    "sgdw",
    defaults={**PLAIN, "momentum": 0.0, "dampening": 0.0, "nesterov": False},
    make=_make,
    limit=sgdw_threshold,
    recognise=_recognise,
    layout=replace(LAYOUT, group=LAYOUT.group | {"caution"}, some=TIMM),
)

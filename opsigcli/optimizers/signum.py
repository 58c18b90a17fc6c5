"""Sign descent with momentum: ``m ← βm + (1 − β)g, θ ← (1 − ηw)θ − η sign(m)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _make(parameters: list[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
    from opsigcli.optimizers.own_rules import Signum

    return Signum(parameters, **hyper)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


SIGNUM = Optimizer(
    "signum",
    defaults={"lr": NO_RATE, "momentum": 0.9, "weight_decay": 0.0},
    make=_make,
    limit=None,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "momentum", "weight_decay", "signed"}), state=frozenset({"momentum_buffer"})
    ),
    refusal="every weight steps by the learning rate, whatever the gradient, so no curvature makes it unstable: it "
    "ends going to and fro within some learning rates of a minimum, however sharp; the sharpness itself is "
    "measured all the same",
)

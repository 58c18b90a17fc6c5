"""Adam and AdamW of bitsandbytes, in 8 or 32 bits: the decay of both is decoupled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.adam import adam_weights
from opsigcli.optimizers.adamw import ADAMW
from opsigcli.optimizers.base import Hyper, StateKeys
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

SECOND_MOMENT = "state2"


def bitsandbytes_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """Adam's p, of the second moments as they were rounded after the update."""
    return adam_weights({"step": state.get("step", 0), "exp_avg_sq": state.get(SECOND_MOMENT)}, hyper)


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    # AdEMAMix has an alpha; before the first update, others have the same keys.
    return None if group.get("alpha") or state_keys is None or len(group["betas"]) != 2 else ""


BITSANDBYTES_ADAMW = replace(
    ADAMW,
    name="bitsandbytes_adamw",
    defaults={key: value for key, value in ADAMW.defaults.items() if key != "amsgrad"},
    make=None,
    recognise=_recognise,
    layout=Layout(
        group=frozenset({"lr", "betas", "eps", "weight_decay"}),
        some=frozenset({"alpha", "t_alpha", "t_beta3"}),
        state=frozenset({"step", "state1", "state2", "qmap1", "qmap2", "absmax1", "absmax2"}),
        needs=frozenset({"step", "state1", "state2"}),
    ),
    weigh=bitsandbytes_weights,
    second_moment=SECOND_MOMENT,
)

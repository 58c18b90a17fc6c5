"""The keys by which the checkpoints of an optimizer are known: those it writes, and no others.

Optimizers that are built on another one keep its keys and add their own: a key that is not known is another rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_TORCH = {"params", "maximize", "foreach", "fused", "capturable", "differentiable"}
_SCHEDULERS = {
    "initial_lr",
    "max_lr",
    "min_lr",
    "base_lr",
    "base_momentum",
    "max_momentum",
    "swa_lr",
    "warmup",
    "warmup_steps",
}
_MULTIPLIERS = {
    "lr_scale",
    "lr_mult",
    "lr_multiplier",
    "wd_mult",
    "decay_mult",
    "weight_decay_mult",
    "layer_decay",
}
_NAMES = {"name", "names", "param_names", "group_name", "group_names", "layer_name", "layer_id", "tag"}
# Keys of parameter groups that change no update: how torch computes it, what schedulers remember, by what schedulers
# and scripts multiplied lr and decay (which are in the group as they were used), and names.
BOOKKEEPING = frozenset(_TORCH | _SCHEDULERS | _MULTIPLIERS | _NAMES)
# Further ones of timm, which change no update while those of them that are in OFF are off.
TIMM = frozenset({"caution", "corrected_weight_decay", "max_lr_snapshot", "clipping_threshold"})
# Keys that leave an update as it is while they have this value.
OFF: Mapping[str, bool | None] = {
    "maximize": False,
    "caution": False,
    "corrected_weight_decay": False,
    "clipping_threshold": None,
}


@dataclass(frozen=True)
class Layout:
    """What an optimizer writes into checkpoints.

    Attributes:
        group: keys that its parameter groups have in every version.
        some: keys that they have in some versions.
        state: keys that the state of a parameter can have.
        needs: keys that the state of every parameter has after an update.
    """

    group: frozenset[str]
    some: frozenset[str] = frozenset()
    state: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

    def lacks(self, group: Mapping[str, Any], state_keys: Collection[str] | None) -> bool:
        """Whether a key is missing that this optimizer always writes."""
        return not self.group <= group.keys() or (
            state_keys is not None and not self.needs <= set(state_keys)
        )

    def strangers(self, group: Mapping[str, Any], state_keys: Collection[str] | None) -> list[str]:
        """The keys, and the values of keys, that this optimizer does not write."""
        known = self.group | self.some | BOOKKEEPING
        found = [f"the key {key!r} of its parameter groups" for key in group if key not in known]
        found += [f"{key} = {group[key]!r}" for key in OFF if key in group and _is_on(key, group)]
        return found + [f"the state {key!r}" for key in sorted(set(state_keys or ()) - self.state)]

    def fits(self, group: Mapping[str, Any], state_keys: Collection[str] | None) -> bool:
        """Whether the keys are those of this optimizer."""
        return not self.lacks(group, state_keys) and not self.strangers(group, state_keys)


def _is_on(key: str, group: Mapping[str, Any]) -> bool:
    if key == "corrected_weight_decay" and not group.get("weight_decay"):
        return False
    return group[key] is not None if OFF[key] is None else bool(group[key])

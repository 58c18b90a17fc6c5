"""Which optimizer a ``torch.optim`` state belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recognised:
    """An optimizer read from its state, or why none was recognised."""

    name: str = ""  # in OPTIMIZERS; "" when not recognised
    hyper: dict[str, Any] = field(default_factory=dict)
    reason: str = ""  # why there is no name, or what was assumed


def from_state_dict(saved: Mapping[str, Any]) -> Recognised:
    """Name and hyper-parameters of the optimizer whose ``state_dict()`` this is.

    Plain gradient descent is reported as ``sgd``: the state does not tell the batch size. States of Adam and
    AdamW that older versions of torch wrote are alike; with weight decay they are taken for AdamW, and
    ``reason`` says so.

    Args:
        saved: a mapping with "param_groups" and "state".
    """
    groups = saved.get("param_groups")
    if not isinstance(groups, list) or not groups or not all(isinstance(g, Mapping) for g in groups):
        return Recognised(reason="the optimizer state has no param_groups")
    name, keys, note = _classify(groups[0], saved.get("state"))
    if not name:
        return Recognised(reason=note)
    for key in keys:
        values = [_plain(group.get(key)) for group in groups]
        if any(value != values[0] for value in values):
            return Recognised(
                reason=f"the {len(groups)} parameter groups differ in {key}: there is no single threshold"
            )
    hyper = {key: _plain(groups[0][key]) for key in keys}
    return Recognised(name, hyper, note)


def _classify(group: Mapping[str, Any], state: Any) -> tuple[str, tuple[str, ...], str]:
    """Name, the hyper-parameters it takes, and a note."""
    if group.get("maximize"):
        return "", (), "the optimizer maximizes"
    if {"lr", "momentum", "dampening", "nesterov", "weight_decay"} <= group.keys():
        if not group["momentum"]:
            return "sgd", ("lr", "weight_decay"), ""
        if group["nesterov"]:
            return "nesterov", ("lr", "weight_decay", "momentum"), ""
        if group["dampening"]:
            return "dampened", ("lr", "weight_decay", "momentum", "dampening"), ""
        return "momentum", ("lr", "weight_decay", "momentum"), ""
    if {"lr", "alpha", "centered", "eps", "momentum", "weight_decay"} <= group.keys():
        return "rmsprop", ("lr", "alpha", "eps", "momentum", "weight_decay"), ""
    if {"lr", "betas", "eps", "amsgrad", "weight_decay"} <= group.keys() and _has_second_moments(state):
        keys = ("lr", "betas", "eps", "weight_decay")
        if "decoupled_weight_decay" in group:
            return ("adamw" if group["decoupled_weight_decay"] else "adam"), keys, ""
        if not group["weight_decay"]:
            return "adam", keys, ""
        return "adamw", keys, "Adam or AdamW: the state does not tell; taken for AdamW"
    return "", (), f"no known optimizer has the parameter group keys {', '.join(map(str, group))}"


def _has_second_moments(state: Any) -> bool:
    """Adam keeps ``exp_avg_sq`` for each parameter; a state without entries is one before the first update."""
    return isinstance(state, Mapping) and all("exp_avg_sq" in entry for entry in state.values())


def _plain(value: Any) -> Any:
    """Tensors (a capturable lr) as numbers, lists as tuples."""
    if hasattr(value, "item"):
        return value.item()
    return tuple(_plain(item) for item in value) if isinstance(value, list | tuple) else value

"""Which optimizer a ``torch.optim`` state belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Optimizer, plain_value


@dataclass(frozen=True)
class Recognised:
    """An optimizer read from its state, or why none was recognised.

    Where the parameter groups differ in a hyper-parameter, and for a rule without a known threshold or of which no step
    can be taken, there is a ``rule``, but no ``name`` and ``hyper`` from which both could be computed.
    """

    name: str = ""  # in OPTIMIZERS; "" when not recognised
    hyper: dict[str, Any] = field(default_factory=dict)
    reason: str = ""  # why there is no name, or what was assumed
    rule: str = ""  # in OPTIMIZERS; of all groups, whatever their hyper-parameters


def from_state_dict(saved: Mapping[str, Any]) -> Recognised:
    """Name and hyper-parameters of the optimizer whose ``state_dict()`` this is (see ``recognise``).

    Args:
        saved: a mapping with "param_groups" and "state".
    """
    groups, state = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not groups or not all(isinstance(g, Mapping) for g in groups):
        return Recognised(reason="the optimizer state has no param_groups")
    return recognise(groups, common_keys(state.values() if isinstance(state, Mapping) else ()))


def common_keys(entries: Iterable[Any]) -> frozenset[str] | None:
    """The keys that the state of every parameter has; None where no parameter has state."""
    keys = [frozenset(entry) if isinstance(entry, Mapping) else frozenset() for entry in entries]
    return frozenset.intersection(*keys) if keys else None


def recognise(groups: Sequence[Mapping[str, Any]], state_keys: Collection[str] | None) -> Recognised:
    """Name and hyper-parameters of the optimizer with these parameter groups.

    Only a rule that knows every key has a name: another one that is built on it has keys of its own. Plain gradient
    descent is reported as ``sgd``: the state does not tell the batch size. States of Adam and AdamW that older
    versions of torch wrote are alike; with weight decay they are taken for AdamW, and ``reason`` says so.

    Args:
        groups: one or more; the hyper-parameters of each, as ``torch.optim`` calls them.
        state_keys: what the state of every parameter has; None before the first update.
    """
    first = groups[0]
    if first.get("maximize"):
        return Recognised(reason="the optimizer maximizes")
    for name in (*OPTIMIZERS, *OPTIMIZERS.unlisted):
        rule: Optimizer = OPTIMIZERS.load(name)
        note = rule.claim(first, state_keys)
        if note is not None:
            return _named(rule, groups, note)
    return Recognised(
        reason=f"{_misfit(first, state_keys)}; give --optimizer and --lr if it steps like a known one"
    )


def _misfit(group: Mapping[str, Any], state_keys: Collection[str] | None) -> str:
    """What keeps the nearest rule from being recognised."""
    rules = [OPTIMIZERS.load(name) for name in OPTIMIZERS]
    near = [r for r in rules if r.layout is not None and not r.layout.lacks(group, state_keys)]
    if not near:
        keys = ", ".join(str(key) for key in group if key != "params")
        return f"no known optimizer has the parameter group keys {keys}"
    nearest = min(near, key=lambda rule: len(rule.layout.strangers(group, state_keys)))
    strangers = nearest.layout.strangers(group, state_keys)
    if not strangers:
        return f"its keys are those of {nearest.name}, and of other optimizers too"
    return f"not a known optimizer: {nearest.name} does not have {' and '.join(strangers[:3])}"


def _unusable(rule: Optimizer, group: Mapping[str, Any]) -> str:
    """Why nothing can be computed from a group's hyper-parameters; "" where all are numbers within their bounds."""
    every = sorted(rule.layout.group) if rule.layout else list(rule.defaults)
    for key in every:
        value = plain_value(group.get(key))
        several = value if isinstance(value, tuple) else (value,)
        if not all(each is None or isinstance(each, int | float) for each in several):
            return f"{key} of {rule.name} is no number in the checkpoint, but of type {type(value).__name__}"
    keys = [key for key in every if key != "nesterov" or not rule.layout]
    if unset := next((key for key in keys if group.get(key, "") is None), ""):
        return f"{unset} of {rule.name} is None in the checkpoint"
    try:
        rule.settle(rule.of_group(group))
    except UsageError as error:
        return error.message
    return ""


def _named(rule: Optimizer, groups: Sequence[Mapping[str, Any]], note: str) -> Recognised:
    name = rule.name
    if rule.limit is None:
        return Recognised(reason=f"no threshold: {rule.refusal}", rule=name)
    for group in groups:
        if reason := _unusable(rule, group):
            return Recognised(reason=f"{reason}; give --optimizer and --lr")
    if rule.make is None:
        reason = (
            f"{name}: opsig takes no steps of it, but knows its threshold where checkpoints have its groups"
        )
        return Recognised(reason=reason, rule=name)
    hypers = [{**rule.defaults, **rule.of_group(group)} for group in groups]
    for key, value in hypers[0].items():
        if any(hyper[key] != value for hyper in hypers):
            reason = f"the {len(groups)} parameter groups differ in {key}, each is judged by its own"
            return Recognised(reason=reason, rule=name)
    return Recognised(name, hypers[0], note, name)

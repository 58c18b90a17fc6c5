"""Which of the parameters in the groups of a checkpoint the step from it moves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from opsigcli.optimizers.base import Optimizer
from opsigcli.runs.parameter_groups import Assignment, Group, Moving


def nothing() -> Collection[str]:
    """No parameter is known to move."""
    return ()


def what_trains(
    groups: Sequence[Group],
    rules: Sequence[Optimizer | None],
    hypers: Mapping[int, Mapping[str, Any]],
    places: Assignment,
    moved: Collection[str] | None,
    moving: Moving = nothing,
) -> list[str]:
    """The parameters that train: in a group with a learning rate, updated before where others were, and moving.

    Those that join at this very checkpoint (``add_param_group``, or unfrozen) were never updated before: they train
    where the next checkpoint has others. A rule that preconditions has no ratio there, as nothing says with what.

    Args:
        groups: of a checkpoint.
        rules: of each group; None where not known.
        hypers: hyper-parameters of the groups that hold parameters of the model, by number.
        places: of the parameters, in groups.
        moved: names of those that changed along the run; None where that cannot be told.
        moving: names of those that change to the next checkpoint; asked where it matters.
    """
    stateful = any(group.has_state for group in groups)
    keeps = [rule is None or rule.keeps_state for rule in rules]
    live = [name for name, slot in places.items() if hypers[slot.group]["lr"] > 0] or list(places)
    live_moved = [name for name in live if moved is None or name in moved]

    def joins(name: str) -> bool:
        return name in moving()

    return [
        name
        for name in live_moved
        if places[name].entry or not stateful or not keeps[places[name].group] or joins(name)
    ] or live

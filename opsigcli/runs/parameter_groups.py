"""Which of the model's parameters each parameter group of a checkpoint holds.

A checkpoint numbers the parameters of its groups; it does not name them. They are told by names where the groups have
some, else by counts, by the shapes of what the state holds, and by which weights moved; where several assignments are
left that make a difference, the caller's evidence decides, or nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsigcli.checkpoints.choose import plain_names
from opsigcli.errors import CheckpointError
from opsigcli.optimizers.base import plain_value
from opsigcli.optimizers.eight_bits import plain_state
from opsigcli.runs.group_orders import candidates, differ_in_decay_alone, fits, numbers_text
from opsigcli.runs.state_values import average, listed

Shapes = Mapping[str, tuple[int, ...]]  # of the model's parameters by name, in the model's order
SEVERAL = (
    "those of several optimizers fit; give --optimizer and --lr as of the one that trained these weights"
)


@dataclass(frozen=True)
class Slot:
    """One parameter of a group."""

    group: int  # over all optimizers of the checkpoint
    entry: Mapping[str, Any] = field(default_factory=dict)  # its state; {} where there is none
    name: str = ""  # "" where the checkpoint does not say
    lr: float = 0.0


@dataclass(frozen=True)
class Group:
    """A parameter group: its hyper-parameters, and its parameters in their order."""

    label: str
    optimizer: int
    hyper: Mapping[str, Any]
    slots: tuple[Slot, ...]

    @property
    def has_state(self) -> bool:
        """Any of its parameters was updated by a rule that keeps state."""
        return any(slot.entry for slot in self.slots)


Assignment = dict[str, Slot]  # by parameter, in the model's order
Evidence = Callable[[list[Assignment]], int | None]  # which one the weights speak for; None: they do not tell
Moving = Callable[[], Collection[str]]  # names of the parameters that are others at the next checkpoint


def parameter_groups(saved: Mapping[str, Any]) -> list[Group]:
    """The parameter groups of all optimizers in a checkpoint.

    Args:
        saved: as ``CheckpointFormat.optimizer`` gives it.

    Raises:
        CheckpointError: moments in 8 bits cannot be decoded.
    """
    found: list[Group] = []
    optimizers = [saved, *saved.get("others", ())] if saved.get("param_groups") else []
    for number, one in enumerate(optimizers):
        state: Mapping[Any, Any] = one.get("state") or {}
        of = f" of {one.get('label') or f'optimizer {number}'}" if len(optimizers) > 1 else ""
        for place, group in enumerate(one["param_groups"]):
            keys = listed(group)
            if not keys:
                continue
            names = list(group.get("param_names") or ())
            if len(names) != len(keys):
                names = [key if isinstance(key, str) else "" for key in keys]
            rate = plain_value(group.get("lr"))
            lr = float(rate) if isinstance(rate, int | float) else 0.0
            slots = tuple(
                Slot(len(found), plain_state(state.get(key) or {}), name, lr)
                for key, name in zip(keys, names, strict=True)
            )
            hyper = {key: value for key, value in group.items() if key not in ("params", "param_names")}
            found.append(Group(f"group {place}{of}", number, hyper, slots))
    return found


def assign(
    groups: Sequence[Group],
    shapes: Shapes,
    trainable: Collection[str],
    moved: Collection[str] | None,
    evidence: Evidence,
    with_state: bool = True,
    meant: Collection[int] = (),
    moving: Moving = lambda: (),
) -> Assignment:
    """The place in the groups of every parameter that is in one.

    Args:
        groups: of a checkpoint.
        shapes: of all parameters of the model.
        trainable: names of those that the model's factory lets train.
        moved: names of those that changed along the run; None where that cannot be told.
        evidence: asked where several assignments are left that make a difference.
        with_state: the state makes a difference, not the hyper-parameters alone.
        meant: numbers of the optimizers that options describe, where those of several fit.
        moving: names of the parameters that change to the next checkpoint, asked where nothing else counts as many.

    Raises:
        CheckpointError: it cannot be told which is which.
    """
    if named := _by_name(groups, shapes):
        return named
    reasons = []
    alone: list[Assignment] = []
    for chosen in _optimizers(groups):
        found, why = _assigned(chosen, shapes, trainable, moved, evidence, with_state, moving)
        reasons += [why] if why else []
        if found is not None and len(chosen) == len(groups):
            return found
        alone += [found] if found is not None else []
    if one := _of_one(groups, alone, meant, evidence):
        return one
    reasons += [SEVERAL] if alone else []
    count = sum(len(group.slots) for group in groups)
    what = f"the {len(groups)} parameter groups hold {count} parameters and do"
    if len(groups) == 1:
        what = f"the parameter group holds {count} parameters and does"
    raise CheckpointError(
        f"{what} not tell which of the model's {len(shapes)} they are"
        + (f": {reasons[0]}" if reasons else ""),
        "make the optimizer from model.named_parameters(), which names them in its state, or give --lr-groups",
    )


def _assigned(
    chosen: Sequence[Group],
    shapes: Shapes,
    trainable: Collection[str],
    moved: Collection[str] | None,
    evidence: Evidence,
    with_state: bool,
    moving: Moving,
) -> tuple[Assignment | None, str]:
    """The assignment of these groups, or why none of several is chosen."""
    why = ""
    slots = [slot for group in chosen for slot in group.slots]
    for names in _subsets(slots, shapes, trainable, moved, moving):
        found = list(candidates(chosen, slots, {name: shapes[name] for name in names}, with_state))
        if not found:
            continue
        if len(found) == 1 or differ_in_decay_alone(chosen):  # which of several makes next to no difference
            return found[0], ""
        best = evidence(found)
        if best is not None:
            return found[best], ""
        if len(chosen) == 1 and list(found[0].values()) == slots:
            return found[0], ""  # one group in the model's order, as Adam(model.parameters()) has it
        why = why or "several assignments fit, and they give different results"
    return None, why


def _of_one(
    groups: Sequence[Group], alone: Sequence[Assignment], meant: Collection[int], evidence: Evidence
) -> Assignment | None:
    """The assignment by one of several optimizers; None where it cannot be told which one trained these weights.

    Nets of equal shapes (a generator and its critic, twins) are fitted by the optimizers of one another.
    """
    own = [one for one in alone if groups[next(iter(one.values())).group].optimizer in meant]
    alone = own or alone
    kinds = [[(numbers_text(groups, slot.group), id(slot.entry) if slot.entry else 0) for slot in one.values()]
             for one in alone]  # fmt: skip
    if alone and all(kind == kinds[0] for kind in kinds):
        return alone[0]
    averaged = all(average(slot.entry) is not None for one in alone for slot in one.values())
    best = evidence(list(alone)) if alone and averaged else None
    return None if best is None else alone[best]


def _by_name(groups: Sequence[Group], shapes: Shapes) -> Assignment:
    """By the names that groups have for their parameters; {} where they have none."""
    named = {slot.name: slot for group in groups for slot in group.slots if slot.name}
    if len(named) != sum(len(group.slots) for group in groups):
        return {}
    plain = {short: named[name] for short, name in plain_names(named).items()}
    for first in shapes:
        for key in (key for key in plain if key == first or key.endswith(f".{first}")):
            prefix = key.removesuffix(first)
            found = {name: plain[prefix + name] for name in shapes if prefix + name in plain}
            if found and all(fits(slot, shapes[name]) for name, slot in found.items()):
                return found
    return {}


def _optimizers(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """All groups together; then those of each optimizer alone, for a file with the optimizers of several nets."""
    yield list(groups)
    numbers = sorted({group.optimizer for group in groups})
    if len(numbers) > 1:
        for number in numbers:
            yield [group for group in groups if group.optimizer == number]


def _subsets(
    slots: Sequence[Slot],
    shapes: Shapes,
    trainable: Collection[str],
    moved: Collection[str] | None,
    moving: Moving,
) -> Iterator[list[str]]:
    """The sets of so many parameters that the groups may hold, the likeliest first."""
    seen: list[list[str]] = []
    kinds: tuple[Moving, ...] = (lambda: shapes, lambda: trainable, lambda: moved or (), moving)
    for kind in kinds:
        own = kind()
        names = [name for name in shapes if name in own]
        if len(names) == len(slots) and names not in seen:
            seen.append(names)
            yield names
    if moved is None and all(slot.entry for slot in slots):  # the one part of the model that the state fits
        everything = list(shapes)
        windows = [everything[at : at + len(slots)] for at in range(len(everything) - len(slots) + 1)]
        fitting = [w for w in windows if all(fits(s, shapes[n]) for s, n in zip(slots, w, strict=True))]
        if len(fitting) == 1 and fitting[0] not in seen:
            yield fitting[0]

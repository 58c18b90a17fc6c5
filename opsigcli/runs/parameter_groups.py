"""Which of the model's parameters each parameter group of a checkpoint holds.

A checkpoint numbers the parameters of its groups; it does not name them. They are told by names where the groups have
some, else by counts, by the shapes of what the state holds, and by which weights moved; where several assignments are
left that make a difference, the caller's evidence decides, or nothing does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsigcli.checkpoints.choose import plain_names
from opsigcli.errors import CheckpointError
from opsigcli.optimizers.eight_bits import plain_state

Shapes = Mapping[str, tuple[int, ...]]  # of the model's parameters by name, in the model's order
MOST_BLOCKS = 5  # of the model, whose order in a group is tried


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
            keys = list(group.get("params", ()))
            if not keys:
                continue
            names = list(group.get("param_names") or ())
            if len(names) != len(keys):
                names = [key if isinstance(key, str) else "" for key in keys]
            rate = group.get("lr", 0.0)
            lr = float(rate) if isinstance(rate, int | float) or hasattr(rate, "item") else 0.0
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
) -> Assignment:
    """The place in the groups of every parameter that is in one.

    Args:
        groups: of a checkpoint.
        shapes: of all parameters of the model.
        trainable: names of those that the model's factory lets train.
        moved: names of those that changed along the run; None where that cannot be told.
        evidence: asked where several assignments are left that make a difference.
        with_state: the state makes a difference, not the hyper-parameters alone.

    Raises:
        CheckpointError: it cannot be told which is which.
    """
    if named := _by_name(groups, shapes):
        return named
    reasons = []
    for chosen in _optimizers(groups):
        slots = [slot for group in chosen for slot in group.slots]
        for names in _subsets(slots, shapes, trainable, moved):
            found = list(_candidates(chosen, slots, {name: shapes[name] for name in names}, with_state))
            if not found:
                continue
            if len(found) == 1 or _differ_in_decay_alone(
                chosen
            ):  # which of several makes next to no difference
                return found[0]
            best = evidence(found)
            if best is not None:
                return found[best]
            if len(chosen) == 1 and list(found[0].values()) == slots:
                return found[0]  # one group in the model's order, as Adam(model.parameters()) has it
            reasons.append("several assignments fit, and they give different results")
    count = sum(len(group.slots) for group in groups)
    what = f"the {len(groups)} parameter groups hold {count} parameters and do"
    if len(groups) == 1:
        what = f"the parameter group holds {count} parameters and does"
    raise CheckpointError(
        f"{what} not tell which of the model's {len(shapes)} they are"
        + (f": {reasons[0]}" if reasons else ""),
        "make the optimizer from model.named_parameters(), which names them in its state, or give --lr-groups",
    )


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
            if found and all(_fits(slot, shapes[name]) for name, slot in found.items()):
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
    slots: Sequence[Slot], shapes: Shapes, trainable: Collection[str], moved: Collection[str] | None
) -> Iterator[list[str]]:
    """The sets of so many parameters that the groups may hold, the likeliest first."""
    seen: list[list[str]] = []
    for kind in (shapes, trainable, moved or ()):
        names = [name for name in shapes if name in kind]
        if len(names) == len(slots) and names not in seen:
            seen.append(names)
            yield names
    if moved is None and all(slot.entry for slot in slots):  # the one part of the model that the state fits
        everything = list(shapes)
        windows = [everything[at : at + len(slots)] for at in range(len(everything) - len(slots) + 1)]
        fitting = [w for w in windows if all(_fits(s, shapes[n]) for s, n in zip(slots, w, strict=True))]
        if len(fitting) == 1 and fitting[0] not in seen:
            yield fitting[0]


def _candidates(
    groups: Sequence[Group], slots: list[Slot], shapes: Shapes, with_state: bool
) -> Iterator[Assignment]:
    """The assignments that shapes allow and that make a difference."""
    seen = []
    for order in _orders(groups, slots, shapes):
        found = dict(zip(shapes, order, strict=True))
        if not all(_fits(slot, shapes[name]) for name, slot in found.items()):
            continue
        what = [
            (_hyper_text(groups, slot.group), id(slot.entry) if with_state and slot.entry else 0)
            for slot in order
        ]
        if what not in seen:
            seen.append(what)
            yield found


def _hyper_text(groups: Sequence[Group], number: int) -> str:
    """The hyper-parameters of a group as a text, equal where they are equal."""
    own = next(group for group in groups if group.slots[0].group == number)
    return repr(sorted((str(key), repr(value)) for key, value in own.hyper.items()))


def _orders(groups: Sequence[Group], slots: list[Slot], shapes: Shapes) -> Iterator[list[Slot]]:
    """The slots in the model's order, in the ways people make groups."""
    names = list(shapes)
    decay_alone = _differ_in_decay_alone(groups)
    split = list(_split_orders(groups, shapes))
    if decay_alone:  # matrices that decay, biases and norms that do not
        yield from split
    if not (decay_alone and split):
        yield slots
        yield from split
        blocks = _blocks(names)
        if 1 < len(blocks) <= MOST_BLOCKS:
            for order in itertools.permutations(range(len(blocks))):
                listed = [name for i in order for name in blocks[i]]
                place = dict(zip(listed, slots, strict=True))
                yield [place[name] for name in names]
    if merged := _merged(groups, shapes):
        yield merged


def _differ_in_decay_alone(groups: Sequence[Group]) -> bool:
    texts = {
        repr(sorted((str(k), repr(v)) for k, v in group.hyper.items() if k != "weight_decay"))
        for group in groups
    }
    return len(groups) > 1 and len(texts) == 1


def _split_orders(groups: Sequence[Group], shapes: Shapes) -> Iterator[list[Slot]]:
    """Two groups that split the parameters by dimensions, or biases from the rest; each in the model's order."""
    if len(groups) != 2:
        return
    for first in (
        lambda name: len(shapes[name]) >= 2,
        lambda name: len(shapes[name]) < 2,
        lambda name: not name.endswith("bias"),
        lambda name: name.endswith("bias"),
    ):
        sides = [name for name in shapes if first(name)]
        if len(sides) == len(groups[0].slots):
            one, two = iter(groups[0].slots), iter(groups[1].slots)
            yield [next(one) if name in sides else next(two) for name in shapes]


def _merged(groups: Sequence[Group], shapes: Shapes) -> list[Slot] | None:
    """Groups that each keep the model's order, merged by shape; None where two could give the next parameter."""
    waiting = [list(group.slots) for group in groups]
    found = []
    for shape in shapes.values():
        fitting = [queue for queue in waiting if queue and _fits(queue[0], shape)]
        if len(fitting) != 1:
            return None
        found.append(fitting[0].pop(0))
    return found


def _blocks(names: Sequence[str]) -> list[list[str]]:
    """Runs of parameters of one part of the model: those below the first name at which names part."""
    parts = [name.split(".") for name in names]
    depth = 0
    while all(len(p) > depth + 1 for p in parts) and len({p[depth] for p in parts}) == 1:
        depth += 1
    runs = itertools.groupby(names, key=lambda name: name.split(".")[depth])
    return [list(run) for _, run in runs]


def _fits(slot: Slot, shape: tuple[int, ...]) -> bool:
    """Whether a parameter's state can be of this shape; one without state can be of any."""
    tensors = [v for key, v in slot.entry.items() if key != "step" and len(getattr(v, "shape", ())) > 0]
    return all(tuple(tensor.shape) == tuple(shape) for tensor in tensors)

"""The orders in which the parameter groups of an optimizer may hold the model's parameters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.runs.parameter_groups import Assignment, Group, Shapes, Slot

MOST_BLOCKS = 5  # of the model, whose order in a group is tried


def candidates(
    groups: Sequence[Group], slots: list[Slot], shapes: Shapes, with_state: bool
) -> Iterator[Assignment]:
    """The assignments that shapes allow and that make a difference."""
    seen = []
    for order in _orders(groups, slots, shapes):
        found = dict(zip(shapes, order, strict=True))
        if not all(fits(slot, shapes[name]) for name, slot in found.items()):
            continue
        what = [
            (numbers_text(groups, slot.group), id(slot.entry) if with_state and slot.entry else 0)
            for slot in order
        ]
        if what not in seen:
            seen.append(what)
            yield found


def numbers_text(groups: Sequence[Group], number: int) -> str:
    """The hyper-parameters of a group as a text, equal where they are equal."""
    own = next(group for group in groups if group.slots[0].group == number)
    return repr(sorted((str(key), repr(value)) for key, value in own.hyper.items()))


def _orders(groups: Sequence[Group], slots: list[Slot], shapes: Shapes) -> Iterator[list[Slot]]:
    """The slots in the model's order, in the ways people make groups."""
    names = list(shapes)
    decay_alone = differ_in_decay_alone(groups)
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


def differ_in_decay_alone(groups: Sequence[Group]) -> bool:
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
        fitting = [queue for queue in waiting if queue and fits(queue[0], shape)]
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


def fits(slot: Slot, shape: tuple[int, ...]) -> bool:
    """Whether a parameter's state can be of this shape; one without state can be of any."""
    tensors = [v for key, v in slot.entry.items() if key != "step" and len(getattr(v, "shape", ())) > 0]
    return all(tuple(tensor.shape) == tuple(shape) for tensor in tensors)

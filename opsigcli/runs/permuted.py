"""Whether a model answers classes as one another: the sign of labels whose order is not that of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from opsigcli.datasets.class_order import ORDERED, natural
from opsigcli.doubt_records import Permutation
from opsigcli.specs import Value, parse

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

MOST = 0.5  # of the examples of a class have to be answered as the other
CLEARLY = 4.0  # standard errors
HELD_OUT = 3.0  # standard errors, of examples that did not choose the permutation


def permuted(
    labels: Ints, answers: Ints, weights: Floats, classes: Sequence[str], data: str
) -> Permutation | None:
    """The classes that are answered as one another in cycles, or None.

    Class c is moved to ``π(c)``, what most of its examples are answered as; moved classes count where π permutes
    them, and where ``K − k > 4 √(K + k)`` for the K of their examples that are answered as ``π(c)`` and the k that are
    answered as c. Of a weak model no class may have most of its examples answered alike: then π is the permutation with
    the most answers among one half of the examples, and counts where it does so among the others.

    Args:
        labels: (n,) of the sample; below 0 = none.
        answers: (n,) classes that have the largest output.
        weights: (n,) of the examples.
        classes: names; () = numbers.
        data: spec of the data.
    """
    size = int(max(labels.max(initial=-1), answers.max(initial=-1))) + 1
    known = labels >= 0
    moved = _cycles(_counts(labels[known], answers[known], size))
    if not moved or _errors(_counts(labels[known], answers[known], size), moved) <= CLEARLY:
        half = np.random.default_rng(0).permutation(int(known.sum())) % 2 == 0
        first, second = (_counts(labels[known][part], answers[known][part], size) for part in (half, ~half))
        moved = _assigned(first)
        moved = {
            c: to for cycle in _split(moved) if _errors(second, cycle) > HELD_OUT for c, to in cycle.items()
        }
        if not moved:
            return None
    names = [classes[c] if c < len(classes) else str(c) for c in range(size)]
    order = list(range(size))
    for c, to in moved.items():
        order[to] = c
    ordered = [names[c] for c in order]
    truth = np.array([moved.get(int(c), int(c)) for c in labels])
    by_value = sorted(names, key=lambda name: (natural(name), name))
    is_natural = ordered == by_value != names
    spec = parse(data)
    if spec.scheme in ORDERED and len(classes) == size:
        order_of: dict[str, Value] = {
            "classes": "natural" if is_natural else list[bool | int | float | str](ordered)
        }
        data = str(replace(spec, options=spec.options | order_of))
    else:
        data = ""
    whole = weights.sum()
    return Permutation(
        {names[c]: names[to] for c, to in moved.items()},
        float(weights[labels == answers].sum() / whole),
        float(weights[truth == answers].sum() / whole),
        is_natural,
        data,
    )


def _counts(labels: Ints, answers: Ints, size: int) -> Ints:
    """(C, C) examples of each class that are answered as each."""
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (labels, answers), 1)
    return counts


def _errors(counts: Ints, moved: Mapping[int, int]) -> float:
    """By how many standard errors more examples of moved classes are answered as they are moved than as themselves."""
    hits, own = (
        sum(int(counts[c, to]) for c, to in pairs)
        for pairs in (moved.items(), zip(moved, moved, strict=True))
    )
    return (hits - own) / math.sqrt(hits + own) if hits + own else 0.0


def _assigned(counts: Ints) -> dict[int, int]:
    """The permutation under which the most answers are right, of classes that it moves."""
    _, to = linear_sum_assignment(counts + 0.5 * np.eye(len(counts)), maximize=True)
    return {c: int(other) for c, other in enumerate(to) if c != other}


def _split(moved: Mapping[int, int]) -> list[dict[int, int]]:
    """The cycles of a permutation."""
    found, left = [], dict(moved)
    while left:
        at, cycle = next(iter(left)), {}
        while at in left:
            cycle[at] = left.pop(at)
            at = cycle[at]
        found.append(cycle)
    return found


def _cycles(counts: Ints) -> dict[int, int]:
    """Class -> the other that most of its examples are answered as, for classes that this permutes among themselves."""
    total = counts.sum(1)
    most = counts.argmax(1)
    moved = {
        int(c): int(most[c])
        for c in np.flatnonzero((total > 0) & (counts.max(1) > MOST * total))
        if most[c] != c
    }
    while lost := {c for c, to in moved.items() if to not in moved}:
        moved = {c: to for c, to in moved.items() if c not in lost}
    # What is left leads on for ever; only what is reached again as well lies on a cycle.
    while lost := moved.keys() - set(moved.values()):
        moved = {c: to for c, to in moved.items() if c not in lost}
    return moved

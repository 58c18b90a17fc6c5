"""What mining says of planted runs against what is true of them, as a table of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from planted_runs import Tinted

from opsigcli.datasets.planted import Planted
from opsigcli.mining.notes import GOOD_PART
from opsigcli.mining.recovery import pair_f1
from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL, CONTINUOUS, OUTLIERS
from opsigcli.mining_records import Mining

FOUND = 0.5  # membership F1 from which a mined pair is a planted one
OUTER = 0.1  # of the examples, one end of an axis
BEGIN = 3  # the first third of a run is not looked at for swings

OF_RUN = "of the run: whole classes"
OTHERS = "the word, of others"
NOTHING = "nothing proposed"
# The strongest first. Class-level opposition of others than the planted classes takes nothing from a run said to be
# of those.
VERDICTS = (OUTLIERS, CONTINUOUS, CLASS_LEVEL, OF_RUN, OTHERS, CHANCE, NOTHING)
RIGHT = {  # verdicts that are true of what there is; where it swings, nothing is not
    "planted pairs": (OUTLIERS,),
    "one axis": (CONTINUOUS,),
    "one axis, still": (CONTINUOUS, CHANCE, NOTHING),
    "whole classes": (CLASS_LEVEL, OF_RUN),
    "whole classes, still": (CLASS_LEVEL, OF_RUN, CHANCE, NOTHING),
    "nothing": (OF_RUN, CHANCE, NOTHING),
}

Sides = tuple[np.ndarray, np.ndarray]


def swings(losses: np.ndarray, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the mean losses of two groups go up and down against one another at every step, visibly."""
    late = losses[len(losses) // BEGIN :]
    moved = [np.diff(late[:, side].mean(axis=1)) for side in (first, second)]
    parted = moved[0] - moved[1]
    if not (parted.std() > 0.01 and min(part.std() for part in moved) > 0):
        return False
    return bool(np.corrcoef(*moved)[0, 1] < -0.3 and np.corrcoef(parted[1:], parted[:-1])[0, 1] < -0.3)


def truth(source: Planted | Tinted, losses: np.ndarray) -> str:
    """What there is in a run, one of ``RIGHT``; an axis or a class that was not seen to swing is still."""
    if source.known_pairs:
        return "planted pairs"
    if source.axis is not None:
        ends = round(OUTER * len(source.axis))
        order = np.argsort(source.axis)
        return "one axis" + ("" if swings(losses, order[:ends], order[-ends:]) else ", still")
    if opposed := getattr(source, "opposed", ()):
        found = [swings(losses, *(np.flatnonzero(source.labels == c) for c in two)) for two in opposed]
        return "whole classes" + ("" if np.mean(found) >= 0.5 else ", still")
    return "nothing"


def called(found: Mining, source: Planted | Tinted, losses: np.ndarray) -> dict[str, float]:
    """How often each verdict is given on what is there: once for every planted pair, or once for the run.

    Outliers that are no finding have not been told from chance. An axis or classes have to be those that were planted.
    """
    sides = [(pair.first.ids, pair.second.ids) for pair in found.pairs]
    given = [
        CHANCE if pair.verdict == OUTLIERS and pair.finding is False else pair.verdict for pair in found.pairs
    ]
    there = truth(source, losses)
    if there == "planted pairs" and not source.alternatives:
        best = [
            max(range(len(sides)), key=lambda at: pair_f1(sides[at], k), default=None)
            for k in source.known_pairs
        ]
        words = [
            NOTHING if at is None or pair_f1(sides[at], known) < FOUND else given[at]
            for at, known in zip(best, source.known_pairs, strict=True)
        ]
    else:
        words = [
            min(
                [*map(_of_what, given, sides, [source] * len(sides)), _of_the_run(found, source)],
                key=VERDICTS.index,
            )
        ]
    return {f"{there}: {verdict}": float(words.count(verdict)) for verdict in VERDICTS}


def _of_what(word: str, sides: Sides, source: Planted | Tinted) -> str:
    """The word, where the pair lies along the planted axis or between planted classes that oppose."""
    first, second = sides
    if word == CONTINUOUS and source.axis is not None:
        before = (source.axis[first][:, None] < source.axis[second]).mean()
        return word if abs(before - 0.5) > 0.4 else OTHERS
    if word == CLASS_LEVEL and getattr(source, "opposed", ()):
        shares = [np.bincount(source.labels[s], minlength=len(source.classes)) / len(s) for s in sides]
        more = shares[0] - shares[1]  # classes by which the sides differ most
        return word if tuple(sorted((int(more.argmax()), int(more.argmin())))) in source.opposed else OTHERS
    return word


def _of_the_run(found: Mining, source: Planted | Tinted) -> str:
    """Whether the run is said to swing by whole classes; where such are planted, by classes that do oppose."""
    if not found.opposing_classes or found.explained.get("class", 0.0) < GOOD_PART:
        return NOTHING
    first, second = ({source.classes.index(name) for name in side} for side in found.opposing_classes)
    opposed = getattr(source, "opposed", ())
    parted = [(a in first and b in second) or (b in first and a in second) for a, b in opposed]
    together = [{a, b} <= first or {a, b} <= second for a, b in opposed]
    return OF_RUN if not opposed or (any(parted) and not any(together)) else OTHERS


def confusion(cells: Sequence[tuple[str, dict[str, float]]], say: Callable[[str], None]) -> None:
    """Verdicts against what is true, for each optimizer, and the share of them that is right."""
    lines = []
    for there, right in RIGHT.items():
        for optimizer in dict.fromkeys(cell.partition("-")[0] for cell, _ in cells):
            of = [found for cell, found in cells if cell.startswith(optimizer)]
            total = {v: sum(found.get(f"{there}: {v}", 0.0) for found in of) for v in VERDICTS}
            if whole := sum(total.values()):
                share = sum(total[v] for v in right) / whole
                lines.append([f"{there}, {optimizer}", *(f"{n:.0f}" for n in total.values()), f"{share:.2f}"])
    if lines:
        say("\n| what is true | " + " | ".join(VERDICTS) + " | right |")
        say("|---" * (len(VERDICTS) + 2) + "|")
        for line in lines:
            say("| " + " | ".join(line) + " |")

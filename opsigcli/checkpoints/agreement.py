"""Whether the sources of the checkpoints' numbers put them in one order, and which is meant where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from opsigcli.checkpoints.base import UNITS
from opsigcli.checkpoints.names import same_order
from opsigcli.checkpoints.placed import Numbered, Order, Placed
from opsigcli.errors import CheckpointError


def undisputed(order: Order, files: Sequence[Numbered]) -> Order:
    """The order, where all sources of numbers agree with it; else that of the names, or of the epochs, with a note.

    A restarted run, or one in several phases, counts its steps anew, and the numbers in its files then contradict
    those in their names.

    Raises:
        CheckpointError: sources contradict one another, and neither names nor epochs put every file in order.
    """
    clocks: dict[Clock, dict[str, int]] = {}
    for f in files:
        for source, numbers in f.numbers.items():
            for unit, number in numbers.items():
                clock = Clock(source, unit, f.named.family if source == "name" else "")
                clocks.setdefault(clock, {})[f.file] = number
    places = {placed.file: i for i, placed in enumerate(order.placed)}
    if all(same_order(places, numbers) for numbers in clocks.values()):
        return order
    whole = [clock for clock, numbers in clocks.items() if len({*numbers.values()}) == len(files)]
    told = [clock for clock in whole if clock.source == "name"]
    told = told or [clock for clock in whole if clock.unit == "epoch"]
    if not told or any(not same_order(clocks[told[0]], clocks[clock]) for clock in told):
        raise CheckpointError(
            f"expected numbers that put the checkpoints in one order, found {_contradiction(clocks)}",
            "say which order is right: --order name or --order mtime",
        )
    chosen = min(told, key=lambda clock: UNITS.index(clock.unit))
    meant = clocks[chosen]
    others = [clock for clock, numbers in clocks.items() if not same_order(meant, numbers)]
    against = f"{order.unit}s from several sources together would give another one"
    if others:
        named = " and ".join(clock.words for clock in others)
        inversion = _inversion(meant, clocks[others[0]])
        against = f"the {named} would give another one ({inversion}), as after a restart"
    note = f"the order is that of the {chosen.words}; {against}"
    placed = tuple(Placed(file, meant[file], chosen.source) for file in sorted(meant, key=meant.__getitem__))
    return Order(placed, chosen.unit, order.left_out, (note,))


@dataclass(frozen=True)
class Clock:
    """A source of numbers that can be held against one another."""

    source: str
    unit: str
    family: str = ""  # of names, whose numbers say nothing of those of other names

    @property
    def words(self) -> str:
        """What it is called."""
        return f"{self.unit} {_WHERE[self.source]}"


_WHERE = {
    "manifest": "in the manifest", "content": "in the files", "sidecar": "beside the files", "name": "in the names",
}  # fmt: skip


def _contradiction(clocks: Mapping[Clock, Mapping[str, int]]) -> str:
    """Two sources that disagree, in words."""
    for (a, first), (b, second) in combinations(clocks.items(), 2):
        if not same_order(first, second):
            return f"the {a.words} and the {b.words} at odds: {_inversion(first, second)}"
    return "none that does"


def _inversion(first: Mapping[str, int], second: Mapping[str, int]) -> str:
    """Two neighbours whose numbers the second source has the other way round."""
    files = sorted(first.keys() & second.keys(), key=lambda file: (first[file], second[file]))
    a, b = next((a, b) for a, b in pairwise(files) if second[a] > second[b])
    return f"{a} has {second[a]:,}, {b} {second[b]:,}"

"""Which of the pairs that were planted in the data were found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opsigcli.mining.recovery import FOUND, pair_f1
from opsigcli.records import Case

if TYPE_CHECKING:
    from opsigcli.records import Ints


def tell_known_pairs(known: tuple[tuple[Ints, Ints], ...], case: Case) -> tuple[str, ...]:
    """A line for every planted pair: its labels and sizes, and the mined pair that matches it best.

    Args:
        known: ids of the two sides of each planted pair; () for real data.
        case: with what was mined.
    """
    if case.mining is None:
        return ()

    def side(ids: Ints) -> str:
        labels = case.trace.labels[case.trace.positions(ids)]
        (most, _), *_ = Counter(labels.tolist()).most_common(1)
        return f"{len(ids)} of {case.run.classes[most] if most < len(case.run.classes) else most}"

    lines = []
    for number, sides in enumerate(known, 1):
        scores = [
            (pair_f1((p.first.ids, p.second.ids), sides), n) for n, p in enumerate(case.mining.pairs, 1)
        ]
        best, place = max(scores, default=(0.0, 0))
        found = f"found as pair {place}, membership F1 {best:.2f}" if best >= FOUND else "not found"
        lines.append(f"planted pair {number} ({side(sides[0])} against {side(sides[1])}): {found}")
    return tuple(lines)

"""How much the two groups oppose one another, and whether they stand apart from everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import NULL, Kind, Matched, against_null
from opsigcli.mining.proposals import clarity
from opsigcli.mining.verdict import APART

if TYPE_CHECKING:
    from opsigcli.records import Evidence


def _opposition(pair: Matched) -> Evidence:
    return against_null(-(pair.nearness[0] * pair.averages[1]).sum(axis=1), tail="high")


def _separation(pair: Matched) -> Evidence:
    """How far the members' contrast lies outside the bulk of everybody else's."""
    to_first, to_second = pair.nearness
    ratios = np.empty(len(to_first))
    for row, (a, b) in enumerate(zip(*pair.groups, strict=True)):
        # A member's mean includes its own zero diagonal entry; the factors take it out.
        own_a = to_first[row, a] * (len(a) / max(len(a) - 1, 1)) - to_second[row, a]
        own_b = to_second[row, b] * (len(b) / max(len(b) - 1, 1)) - to_first[row, b]
        rest = np.delete(to_first[row] - to_second[row], np.concatenate([a, b]))
        bulk = np.quantile(np.abs(rest), 0.98) if len(rest) else 0.0
        inside = np.quantile(np.concatenate([own_a, own_b]), 0.1)
        ratios[row] = inside / max(bulk, 1e-3)
    return against_null(ratios, tail="high")


def _clarity(pair: Matched) -> Evidence | None:
    by_chance = pair.material.by_chance
    if not len(by_chance):
        return None
    first, second = (np.sort(rows) for rows in pair.pair.sides)
    return against_null(np.append(clarity(pair.similarity, (first, second)), by_chance), tail="high")


OPPOSITION = Kind.number(
    "opposition",
    "minus the mean residual-adjusted gradient cosine between the two groups (what a cosine has beyond "
    "the usual one of examples whose output residuals are as alike, as a share of the room left up to 1 or down to "
    f"-1), averaged over the checkpoints compared ({NULL}, mean; p: share of them at least as opposed).",
    _opposition,
)
SEPARATION = Kind.number(
    "separation",
    "10 % quantile of the members' contrast (mean residual-adjusted cosine to the own group minus "
    f"that to the other) over the 98 % quantile of its size in all other candidates; above {APART} the groups stand "
    f"apart, below they are tails of one continuous axis ({NULL}, mean; p: share of them at least as large).",
    _separation,
)
CLARITY = Kind.number(
    "clarity",
    "opposition times separation (at most 1.5) of the pair (null: the same for the clearest pair found by "
    "the same search in this run's gradient similarities after a random rotation within each class, which keeps "
    "class means and covariances and destroys clusters; mean; p: share of rotations at least as clear, which "
    "accounts for the search: among runs without pairs a share of at most p has any pair this clear).",
    _clarity,
)

"""Pairs as fixed points: from many starts, two groups are refined against one another; the clear ones are kept.

A start is an example with what resembles it most and what opposes that most, or a group of average linkage with
its most negative partner. Along its refinement the clearest state counts. What remains after overlapping proposals
are struck has to be opposed, cohesive on both sides, and apart from the bulk; several that share a group are one
conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.conflicts import Conflict, conflicts
from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.proposals import ROUNDS, along_the_axis, narrowed, propose, suppress
from opsigcli.mining.simple import SMALLEST, owned, part
from opsigcli.mining.starts import Starts
from opsigcli.mining.states import SHARE

if TYPE_CHECKING:
    from opsigcli.mining.proposals import Proposal
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]


SETTLING = 3  # rounds
WIDER = 0.45  # of the members' median contrast, for the last word on memberships
CORE = 0.75  # likewise, of what stands apart only so
NEARLY = 0.9  # separation of a proposal whose core may stand apart
APART = 1.7  # separation of a core; of noise they reach 1.56


def fixed_point_pairs(similarity: Floats, given: list[Sides] | None = None) -> list[Sides]:
    """Opposing pairs as fixed points of refinement.

    Args:
        similarity: residual-adjusted S, (M, M), zero diagonal.
        given: two sides each to start from (default: those of ``Starts``).

    Returns:
        Row indices of the two sides of each pair, most opposed first; no row is in two groups.
    """
    proposals = propose(Starts(similarity, given=given))
    alone = standing(similarity, proposals)
    # Who stands apart alone is more than a part of what opposes as a whole.
    several = [
        each
        for each in _apart(similarity, conflicts(similarity, [p for p in proposals if p.holds]))
        if not any(each.swallows(p.sides) for p in alone[0])
    ]
    kept, narrow = (
        [Conflict.of(p.sides) for p in some if not any(each.overlaps(p.members) for each in several)]
        for some in alone
    )
    found = [*several, *kept, *narrow]
    bars = [WIDER] * (len(several) + len(kept)) + [CORE] * len(narrow)
    settled = _settle(similarity, found, bars)
    # What wider memberships take away from is left as narrow as it was found.
    again = [
        bar if bar != WIDER or stands_apart(similarity, each.sides, each) else SHARE
        for each, bar in zip(settled, bars, strict=True)
    ]
    if again != bars:
        settled = _settle(similarity, found, again)
    pairs = part(similarity, [each.sides for each in settled])
    if given is None:
        pairs += _axis(similarity, found, pairs)
    pairs = [pair for pair in pairs if min(map(len, pair)) >= SMALLEST]
    return sorted(pairs, key=lambda pair: (float(similarity[np.ix_(*pair)].mean()), int(pair[0][0])))


def standing(similarity: Floats, proposals: list[Proposal]) -> tuple[list[Proposal], list[Proposal]]:
    """The proposals that hold; and where some oppose and do not stand apart, the cores of them that do.

    In networks that pool, examples with an unusual residual lean to one side of a pair, and what refinement settles at
    has them among its members. With a bar of .75 of the members' mean contrast, in place of .55, they fall away. A
    core has to be farther apart than outliers, as it was picked for that. No two of all that is returned share half of
    the smaller one's members.

    Args:
        similarity: S, (M, M), zero diagonal.
        proposals: of the search.
    """
    kept = suppress([p for p in proposals if p.holds])
    wide = suppress([p for p in proposals if p.leans and not p.holds and p.separation > NEARLY])
    found = narrowed(similarity, wide, CORE, ROUNDS)
    cores = suppress([core for core in found if core.holds and core.separation > APART])
    return kept, [core for core in cores if not any(core.overlaps(other) for other in kept)]


def swing_held(swings: Floats, sides: Sides, weights: Floats | None = None) -> Floats:
    """``log [share of Σ|ℓ_i(θ+εu) − ℓ_i(θ−εu)| held by the members ÷ their fraction of the data]``, (K,).

    Args:
        swings: (K, M) nats.
        sides: rows of the members.
        weights: (M,) how many of all examples each row stands for (default: one).
    """
    weights = np.ones(swings.shape[1]) if weights is None else weights
    size = np.abs(np.nan_to_num(swings, posinf=0, neginf=0)) * weights
    members = np.concatenate(sides)
    whole = size.sum(axis=1)
    share = np.divide(size[:, members].sum(axis=1), whole, out=np.zeros_like(whole), where=whole > 0)
    return np.asarray(np.log(np.maximum(share * weights.sum() / weights[members].sum(), 1e-9)))


def _apart(similarity: Floats, several: list[Conflict]) -> list[Conflict]:
    """Conflicts settled, each of as many groups as stand apart from everybody else.

    That two groups oppose one another is the search's own matter.
    """
    settled = _settle(similarity, several, [WIDER] * len(several))
    apart = [stands_apart(similarity, each.sides, each) for each in settled]
    if all(apart):
        return settled
    fewer = [each if good else each.smaller(similarity) for each, good in zip(several, apart, strict=True)]
    return _apart(similarity, [each for each in fewer if each is not None])


def _axis(similarity: Floats, found: list[Conflict], pairs: list[Sides]) -> list[Sides]:
    """Both ends of the axis, if there is one and it is not what some pair makes; members of pairs stay with those.

    What stands apart and was not found by the search is more than half of the examples: two kinds of them, no outliers.
    """
    taken = np.concatenate([np.zeros(0, dtype=np.int64), *(side for pair in pairs for side in pair)])
    ends = [
        Conflict.of(axis.sides)
        for axis in along_the_axis(similarity)
        if not any(each.overlaps(axis.members) for each in found)
    ]
    settled = [each.sides for each in _settle(similarity, ends, [WIDER] * len(ends))]
    return [
        (np.setdiff1d(first, taken), np.setdiff1d(second, taken))
        for first, second in settled
        if not stands_apart(similarity, (first, second))
    ]


def _settle(similarity: Floats, several: list[Conflict], bars: list[float]) -> list[Conflict]:
    """The last word on memberships: refined with a bar for each, lower than the search could afford, by its owner."""
    for _ in range(SETTLING if several else 0):
        of = owned(similarity, [each.sides for each in several])
        wider = [each.refined(similarity, bar) for each, bar in zip(several, bars, strict=True)]
        own = [each.only(of == p) for p, each in enumerate(wider)]
        several = [
            new if min(map(len, new.sides)) >= SMALLEST else old
            for new, old in zip(own, several, strict=True)
        ]
    return several

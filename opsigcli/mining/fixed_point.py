"""Pairs as fixed points: from many starts, two groups are refined against one another; the clear ones are kept.

A start is an example with what resembles it most and what opposes that most, or a group of average linkage with
its most negative partner. Along its refinement the clearest state counts. What remains after overlapping proposals
are struck has to be opposed, cohesive on both sides, apart from the bulk, and, where a probe is at hand, has to hold
the loss changes along its own direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.proposals import OVERLAP, Proposal, propose, suppress
from opsigcli.mining.simple import SMALLEST, closeness, part, refine
from opsigcli.mining.starts import Starts

if TYPE_CHECKING:
    from opsigcli.mining.search import Probe
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]


WIDER = 0.45  # of the members' median contrast, for the last word on memberships
TAIL_SHARES = (0.025, 0.05)  # of the examples, on a side
TAIL_STARTS = 200
TAIL_HELD = 1.0
OUTLIERS = 0.2  # of the examples, at most, are called members
HELD = 1.75  # log of share of the swing over share of the data


def fixed_point_pairs(
    similarity: Floats, probe: Probe | None = None, weights: Floats | None = None
) -> list[Sides]:
    """Opposing pairs as fixed points of refinement, gated by what the pair's own direction does to the losses.

    First groups that stand apart; then, beside them, the tails of continuous axes: strongly opposed groups of at
    most 5 % of the examples on a side, until a fifth of all examples belongs to a pair.

    Args:
        similarity: residual-adjusted S, (M, M), zero diagonal.
        probe: without one the last gate is left out.
        weights: (M,) how many of all examples each row stands for (default: one).

    Returns:
        Row indices of the two sides of each pair, most opposed first; no row is in two groups.
    """
    weights = np.ones(len(similarity)) if weights is None else weights
    examples = float(weights.sum())
    most = max(SMALLEST, int(TAIL_SHARES[-1] * examples))
    starts = Starts(similarity)
    kept = suppress([p for p in propose(starts) if p.holds])
    kept = [p for p in kept if _held(p, probe, HELD, weights)]
    pairs = [_settle(similarity, p.sides) for p in kept]
    pairs = [_outermost(similarity, sides, most) for sides in pairs]
    pairs += _tails(starts, probe, pairs, weights)
    pairs = [pair for pair in part(similarity, pairs) if min(map(len, pair)) >= SMALLEST]
    return sorted(pairs, key=lambda pair: (float(similarity[np.ix_(*pair)].mean()), int(pair[0][0])))


def _held(proposal: Proposal, probe: Probe | None, bar: float, weights: Floats) -> bool:
    """Whether the members hold the swing at one checkpoint at least; the others are then not looked at."""
    sides = proposal.sides
    return probe is None or any(swing_held(row[None], sides, weights)[0] > bar for row in probe(sides))


def _tails(starts: Starts, probe: Probe | None, pairs: list[Sides], weights: Floats) -> list[Sides]:
    """The two ends of continuous axes, strongest opposition first, beside the pairs that are known."""
    m = float(weights.sum())
    taken = np.zeros(len(starts.similarity), dtype=bool)
    for sides in pairs:
        taken[np.concatenate(sides)] = True
    found = []
    proposals = [
        p
        for share in TAIL_SHARES
        for p in propose(starts, TAIL_STARTS, max(SMALLEST, int(share * m)))
        if p.is_tail
    ]
    for proposal in suppress(proposals):
        members = proposal.members
        if taken[members].mean() >= OVERLAP or not _held(proposal, probe, TAIL_HELD, weights):
            continue
        if (taken.sum() + (~taken[members]).sum()) > OUTLIERS * m:
            break
        taken[members] = True
        found.append(proposal.sides)
    return found


def _outermost(similarity: Floats, sides: Sides, largest: int) -> Sides:
    """At most ``largest`` members a side, those that stand out most: outliers are few."""
    if max(map(len, sides)) <= largest:
        return sides
    contrast = closeness(similarity, sides[0]) - closeness(similarity, sides[1])
    first = sides[0][np.argsort(-contrast[sides[0]], kind="stable")[:largest]]
    second = sides[1][np.argsort(contrast[sides[1]], kind="stable")[:largest]]
    return np.sort(first), np.sort(second)


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


def _settle(similarity: Floats, sides: Sides) -> Sides:
    """The last word on memberships: refined with a lower bar, which the search could not afford."""
    for _ in range(3):
        wider = refine(similarity, sides, WIDER)
        if min(map(len, wider)) < SMALLEST:
            break
        sides = wider
    return sides

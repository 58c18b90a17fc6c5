"""Pairs as fixed points: from many starts, two groups are refined against one another; the clear ones are kept.

A start is an example with what resembles it most and what opposes that most, or a group of average linkage with
its most negative partner. Along its refinement the clearest state counts. What remains after overlapping proposals
are struck has to be opposed, cohesive on both sides, apart from the bulk, and, where a probe is at hand, has to hold
the loss changes along its own direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import SMALLEST, closeness, linkage_cuts, part, refine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsigcli.mining.search import Probe
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

STARTS = 500  # examples to start from, those with the most negative similarities
TOGETHER = 256  # starts refined at once; bounds memory
NEAREST = 8  # examples of a start's sides
CUTS = (0.5, 0.65, 0.75, 0.85)  # of average linkage
ROUNDS = 6
SETTLED = 4  # rounds before which a proposal still shows what its start was chosen for
CLEAR = 1.5  # separation beyond which a proposal is not the better for it
OVERLAP = 0.5  # of the smaller proposal's members

OPPOSED = 0.1  # mean −S(A, B)
ALIKE = 0.42  # −S(A, B) over the geometric mean of S within A and within B
COHESION = 0.78  # mean S within a side times √(n − 1); groups that a search picks out of noise reach .6
SEPARATION = 1.0
UNEQUAL = 4.0  # times as many members on one side: opposing groups occur with similar frequency
WIDER = 0.45  # of the members' median contrast, for the last word on memberships
TAIL_SHARES = (0.025, 0.05)  # of the examples, on a side
TAIL_STARTS = 200
TAIL_OPPOSED = 0.4
TAIL_WITHIN = 0.25
TAIL_HELD = 1.0
OUTLIERS = 0.2  # of the examples, at most, are called members
HELD = 1.75  # log of share of the swing over share of the data


@dataclass(frozen=True)
class Proposal:
    """Two groups and how clearly they stand out."""

    sides: Sides
    opposition: float  # −mean S(A, B)
    within: tuple[float, float]  # mean S of two members of the same side
    separation: float  # 10 % quantile of the members' contrast over the 98 % quantile of the others' size

    @property
    def score(self) -> float:
        """Opposition times separation, capped."""
        return self.opposition * min(self.separation, CLEAR)

    @property
    def members(self) -> Ints:
        """Rows of both sides."""
        return np.concatenate(self.sides)

    @property
    def is_tail(self) -> bool:
        """Whether the two sides are strongly opposed and alike within, wherever the others are."""
        return (
            self.opposition > TAIL_OPPOSED
            and min(self.within) > TAIL_WITHIN
            and max(map(len, self.sides)) <= UNEQUAL * min(map(len, self.sides))
        )

    @property
    def holds(self) -> bool:
        """Whether the similarities alone speak for the pair."""
        cohesion = [s * np.sqrt(len(side) - 1) for s, side in zip(self.within, self.sides, strict=True)]
        sizes = sorted(map(len, self.sides))
        if min(cohesion) < COHESION or sizes[1] > UNEQUAL * sizes[0]:
            return False
        alike = self.opposition / np.sqrt(self.within[0] * self.within[1])
        return bool(self.opposition > OPPOSED and alike > ALIKE and self.separation > SEPARATION)


def full(similarity: Floats, probe: Probe | None = None, weights: Floats | None = None) -> list[Sides]:
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
    kept = suppress([p for p in propose(similarity) if p.holds])
    kept = [p for p in kept if _held(p, probe, HELD, weights)]
    pairs = [_settle(similarity, p.sides) for p in kept]
    pairs = [_outermost(similarity, sides, most) for sides in pairs]
    pairs += _tails(similarity, probe, pairs, weights)
    pairs = [pair for pair in part(similarity, pairs) if min(map(len, pair)) >= SMALLEST]
    return sorted(pairs, key=lambda pair: (float(similarity[np.ix_(*pair)].mean()), int(pair[0][0])))


def _held(proposal: Proposal, probe: Probe | None, bar: float, weights: Floats) -> bool:
    return probe is None or bool(swing_held(probe(proposal.sides), proposal.sides, weights).max() > bar)


def _tails(similarity: Floats, probe: Probe | None, pairs: list[Sides], weights: Floats) -> list[Sides]:
    """The two ends of continuous axes, strongest opposition first, beside the pairs that are known."""
    m = float(weights.sum())
    taken = np.zeros(len(similarity), dtype=bool)
    for sides in pairs:
        taken[np.concatenate(sides)] = True
    found = []
    proposals = [
        p
        for share in TAIL_SHARES
        for p in propose(similarity, TAIL_STARTS, max(SMALLEST, int(share * m)))
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


def _most(members: Floats, contrast: Floats, largest: int) -> Floats:
    """The members with the ``largest`` highest contrasts of each column."""
    ranked = np.where(members > 0, contrast, -np.inf)
    bound = np.partition(ranked, len(ranked) - largest, axis=0)[len(ranked) - largest]
    return np.asarray(members * (ranked >= bound), dtype=np.float32)


def clarity(similarity: Floats, sides: Sides) -> float:
    """Opposition times separation (at most 1.5) of two groups; 0 where they are too small to tell."""
    (proposal,) = _States.of(similarity, [sides]).proposals()
    return 0.0 if proposal is None else max(proposal.score, 0.0)


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


def propose(similarity: Floats, most: int = STARTS, largest: int | None = None) -> list[Proposal]:
    """Every start refined six times; of its states the one with the highest score.

    With ``largest``, a side keeps only that many members, those that stand out most.
    """
    m = len(similarity)
    if m < 2 * SMALLEST:
        return []
    starts = list(_starts(similarity, most))
    best: list[Proposal | None] = [None] * len(starts)
    for at in range(0, len(starts), TOGETHER):
        states = _States.of(similarity, starts[at : at + TOGETHER])
        for done in range(1, ROUNDS + 1):
            states = states.refined(largest)
            if done < SETTLED:
                continue
            for number, proposal in enumerate(states.proposals(), at):
                old = best[number]
                if proposal is not None and (old is None or proposal.score > old.score):
                    best[number] = proposal
    unique = {p.members.tobytes(): p for p in best if p is not None and p.score > 0}
    return list(unique.values())


class _States:
    """The sides of R proposals as columns, so that one product with S serves all of them."""

    def __init__(self, similarity: Floats, first: Floats, second: Floats) -> None:
        self.similarity = similarity
        self.first, self.second = first, second  # (M, R) float32, 1 for a member
        self.sizes = first.sum(axis=0), second.sum(axis=0)
        # A member's similarity to its own side leaves itself out; S has a zero diagonal.
        totals = similarity @ np.concatenate([first, second], axis=1)
        count = first.shape[1]
        self.to_first = totals[:, :count] / np.maximum(self.sizes[0] - first, 1)
        self.to_second = totals[:, count:] / np.maximum(self.sizes[1] - second, 1)
        self.contrast = self.to_first - self.to_second

    @classmethod
    def of(cls, similarity: Floats, starts: list[Sides]) -> _States:
        columns = np.zeros((2, len(similarity), len(starts)), dtype=np.float32)
        for number, (first, second) in enumerate(starts):
            columns[0, first, number] = columns[1, second, number] = 1
        return cls(similarity, *columns)

    def refined(self, largest: int | None = None) -> _States:
        """The rule of ``simple.refine``, with means in place of medians."""
        first = self._members(self.contrast, self.to_first, self.to_second, self.first, self.sizes[0])
        second = self._members(-self.contrast, self.to_second, self.to_first, self.second, self.sizes[1])
        if largest is not None and largest < len(first):
            first, second = _most(first, self.contrast, largest), _most(second, -self.contrast, largest)
        return _States(self.similarity, first, second)

    def proposals(self) -> list[Proposal | None]:
        """One per column; None where a side has become too small."""
        n_first, n_second = (np.maximum(size, 1) for size in self.sizes)
        opposition = -(self.first * self.to_second).sum(axis=0) / n_first
        within_first = (self.first * self.to_first).sum(axis=0) / n_first
        within_second = (self.second * self.to_second).sum(axis=0) / n_second
        found: list[Proposal | None] = []
        members = self.first + self.second
        bulk = np.abs(np.where(members > 0, 0, self.contrast))
        k = int(0.98 * len(bulk))
        bulk = np.partition(bulk, k, axis=0)[k]
        for r, size in enumerate(zip(*self.sizes, strict=True)):
            if min(size) < SMALLEST or sum(size) > len(members) / 2:
                found.append(None)
                continue
            own = self.contrast[:, r] * (self.first[:, r] - self.second[:, r])
            low = np.sort(own[members[:, r] > 0])[int(0.1 * sum(size))]
            found.append(
                Proposal(
                    (np.flatnonzero(self.first[:, r]), np.flatnonzero(self.second[:, r])),
                    float(opposition[r]),
                    (float(within_first[r]), float(within_second[r])),
                    float(low / max(bulk[r], 1e-3)),
                )
            )
        return found

    def _members(self, contrast: Floats, own: Floats, other: Floats, side: Floats, size: Floats) -> Floats:
        count = np.maximum(size, 1)
        usual = (side * contrast).sum(axis=0) / count
        usual_own = (side * own).sum(axis=0) / count
        inside = (contrast > 0.55 * usual) & (own > 0.5 * usual_own) & (other < -0.05)
        return np.asarray(inside & (usual > 0), dtype=np.float32)


def _settle(similarity: Floats, sides: Sides) -> Sides:
    """The last word on memberships: refined with a lower bar, which the search could not afford."""
    for _ in range(3):
        wider = refine(similarity, sides, WIDER)
        if min(map(len, wider)) < SMALLEST:
            break
        sides = wider
    return sides


def suppress(proposals: list[Proposal]) -> list[Proposal]:
    """The proposals with the highest scores, of which no two share half of the smaller one's members."""
    kept: list[Proposal] = []
    for proposal in sorted(proposals, key=lambda p: -p.score):
        rows = proposal.members
        shared = [
            len(np.intersect1d(rows, other.members)) / min(len(rows), len(other.members)) for other in kept
        ]
        if max(shared, default=0.0) < OVERLAP:
            kept.append(proposal)
    return kept


def _starts(similarity: Floats, most: int) -> Iterator[Sides]:
    """Sides to refine: groups of linkage with their partners, then the surroundings of single examples."""
    for groups in linkage_cuts(similarity, CUTS):
        for group in groups:
            to_group = closeness(similarity, group)
            others = [other for other in groups if other is not group]
            if others:
                yield group, min(others, key=lambda other: float(to_group[other].mean()))
    k = min(NEAREST, len(similarity) // 2 - 1)
    for row in np.argsort(-opposition_degree(similarity), kind="stable")[:most]:
        near = np.argpartition(-similarity[row], k)[:k]
        opposed = np.argpartition(similarity[near].sum(axis=0), k)[:k]
        contrast = similarity[near].sum(axis=0) - similarity[opposed].sum(axis=0)
        order = np.argpartition(contrast, (k, len(contrast) - k))
        yield np.sort(order[-k:]), np.sort(order[:k])


def opposition_degree(similarity: Floats, count: int = 5) -> Floats:
    """Minus the mean of the five lowest S of each row, (M,)."""
    k = min(count, similarity.shape[1] - 1)
    return np.asarray(-np.partition(similarity, k, axis=1)[:, :k].mean(axis=1))

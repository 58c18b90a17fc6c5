"""Proposals: two groups refined against one another from many starts, and how clearly they stand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import SMALLEST, closeness, linkage_cuts

if TYPE_CHECKING:
    from collections.abc import Iterator

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
TAIL_OPPOSED = 0.4
TAIL_WITHIN = 0.25


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


def _most(members: Floats, contrast: Floats, largest: int) -> Floats:
    """The members with the ``largest`` highest contrasts of each column."""
    ranked = np.where(members > 0, contrast, -np.inf)
    bound = np.partition(ranked, len(ranked) - largest, axis=0)[len(ranked) - largest]
    return np.asarray(members * (ranked >= bound), dtype=np.float32)


def clarity(similarity: Floats, sides: Sides) -> float:
    """Opposition times separation (at most 1.5) of two groups; 0 where they are too small to tell."""
    (proposal,) = States.of(similarity, [sides]).proposals()
    return 0.0 if proposal is None else max(proposal.score, 0.0)


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
        states = States.of(similarity, starts[at : at + TOGETHER])
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


class States:
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
    def of(cls, similarity: Floats, starts: list[Sides]) -> States:
        columns = np.zeros((2, len(similarity), len(starts)), dtype=np.float32)
        for number, (first, second) in enumerate(starts):
            columns[0, first, number] = columns[1, second, number] = 1
        return cls(similarity, *columns)

    def refined(self, largest: int | None = None) -> States:
        """The rule of ``simple.refine``, with means in place of medians."""
        first = self._members(self.contrast, self.to_first, self.to_second, self.first, self.sizes[0])
        second = self._members(-self.contrast, self.to_second, self.to_first, self.second, self.sizes[1])
        if largest is not None and largest < len(first):
            first, second = _most(first, self.contrast, largest), _most(second, -self.contrast, largest)
        return States(self.similarity, first, second)

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

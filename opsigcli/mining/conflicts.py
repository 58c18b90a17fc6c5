"""Conflicts of several groups: where one group is opposed by some that have less in common, they are one side."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.simple import SMALLEST, closeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining.proposals import Proposal
    from opsigcli.records import Floats, Ints

SAME = 0.5  # of the smaller one's members, in what is taken for one
NEW = 0.5  # of a group's members, in no group before it
MOSTLY = 0.45  # opposition of two groups, at least, in units of the strongest that either has
MOST = 8  # groups of a conflict; there are 2⁷ ways to part them


class Conflict(NamedTuple):
    """Two sides of one or more groups each, all disjoint."""

    first: tuple[Ints, ...]
    second: tuple[Ints, ...]

    @classmethod
    def of(cls, sides: tuple[Ints, Ints]) -> Conflict:
        """A pair: one group on either side."""
        return cls((sides[0],), (sides[1],))

    @property
    def sides(self) -> tuple[Ints, Ints]:
        """Increasing rows of either side."""
        return np.sort(np.concatenate(self.first)), np.sort(np.concatenate(self.second))

    def overlaps(self, members: Ints) -> bool:
        """Whether half of the smaller one's members are shared."""
        own = np.concatenate(self.first + self.second)
        return len(np.intersect1d(own, members)) >= SAME * min(len(own), len(members))

    def swallows(self, pair: tuple[Ints, Ints]) -> bool:
        """Whether a group of the pair is part of a group here that is more than twice as large.

        So it is with whole classes that oppose one another, and pairs of some of their examples.
        """
        return any(
            len(common) >= SAME * len(side) and len(common) < SAME * len(group)
            for group in self.first + self.second
            for side in pair
            for common in [np.intersect1d(group, side)]
        )

    def only(self, rows: NDArray[np.bool_]) -> Conflict:
        """The same without the rows that a mask leaves out."""
        return Conflict(tuple(g[rows[g]] for g in self.first), tuple(g[rows[g]] for g in self.second))

    def smaller(self, similarity: Floats) -> Conflict | None:
        """The same without the group that opposes the other side least; None where two groups are all."""
        sides = self.first, self.second
        against = [closeness(similarity, side) for side in self.sides[::-1]]
        weakest = max(
            (
                (float(to_other[group].mean()), at, number)
                for at, (side, to_other) in enumerate(zip(sides, against, strict=True))
                for number, group in enumerate(side)
                if len(side) > 1
            ),
            default=None,
        )
        if weakest is None:
            return None
        _, at, number = weakest
        left = [
            side[:number] + side[number + 1 :] if which == at else side for which, side in enumerate(sides)
        ]
        return Conflict(left[0], left[1]) if len(left[0]) + len(left[1]) > 2 else None

    def refined(self, similarity: Floats, share: float) -> Conflict:
        """Memberships by the rule of ``simple.refine``, each group of a side held against the whole other side.

        The bar is ``share`` of the median contrast of all members of the side, each with its own group.
        """
        towards = [closeness(similarity, side) for side in self.sides]
        first = _joining(similarity, self.first, towards[1], share)
        second = _joining(similarity, self.second, towards[0], share)
        both = np.intersect1d(
            np.concatenate(first), np.concatenate(second)
        )  # of several groups on either side
        return Conflict(
            tuple(np.setdiff1d(g, both) for g in first), tuple(np.setdiff1d(g, both) for g in second)
        )


def conflicts(similarity: Floats, held: list[Proposal]) -> list[Conflict]:
    """Conflicts of three groups or more, no two of which share half of the smaller one's members.

    Where one feature means a class to some examples and other classes to others, the search proposes each group
    against the one that opposes it most, and these proposals share it. Around every group those that oppose it are
    gathered, and the two sides are those between which opposition adds up to most: for signs s of the groups
    ``Σ_ab s_a s_b Σ S(a, b)`` is the largest. Proposals that are parts of it are so one pair. Its opposition is a
    mean over pairs of its groups, and no more than the largest of theirs: surrogates search without gathering, and are
    held against it as they are.

    Args:
        similarity: S, (M, M), zero diagonal.
        held: proposals that hold.
    """
    groups = _groups(held, len(similarity))
    if len(groups) < 3:
        return []
    found = [
        _parted(similarity, [groups[at], *(groups[other] for other in np.flatnonzero(row)[: MOST - 1])])
        for at, row in enumerate(_opposed(similarity, groups, held))
        if row.sum() > 1
    ]
    kept: list[Conflict] = []
    for conflict in sorted(found, key=lambda each: -_weight(similarity, each)):
        members = np.concatenate(conflict.sides)
        if not any(other.overlaps(members) for other in kept):
            kept.append(conflict)
    return kept


def _joining(
    similarity: Floats, groups: tuple[Ints, ...], to_other: Floats, share: float
) -> tuple[Ints, ...]:
    """New members of the groups on one side, each in the group that it is most like."""
    own = np.stack([closeness(similarity, group) for group in groups])
    contrast = own - to_other
    bar = share * np.median(np.concatenate([contrast[k, group] for k, group in enumerate(groups)]))
    nearest = own.argmax(axis=0)
    return tuple(
        np.flatnonzero(
            (nearest == k)
            & (contrast[k] > bar)
            & (own[k] > 0.5 * np.median(own[k, group]))
            & (to_other < -0.05)
        )
        if len(group)
        else group
        for k, group in enumerate(groups)
    )


def _groups(held: list[Proposal], count: int) -> list[Ints]:
    """Disjoint groups of proposals: those with the most cohesion times √members, of which mixtures have less."""
    named = {
        side.tobytes(): (within * np.sqrt(len(side)), side)
        for proposal in held
        for within, side in zip(proposal.within, proposal.sides, strict=True)
    }
    groups: list[Ints] = []
    free = np.ones(count, dtype=bool)
    for _, side in sorted(named.values(), key=lambda each: -each[0]):
        new = side[free[side]]
        if len(new) >= max(SMALLEST, NEW * len(side)):
            groups.append(new)
            free[new] = False
    return groups


def _opposed(similarity: Floats, groups: list[Ints], held: list[Proposal]) -> NDArray[np.bool_]:
    """Which groups oppose one another: sides of some proposal, about as much as either opposes any group, (G, G).

    Where features of two pairs are alike, or one class has a feature of its own, groups oppose some others a little.
    """
    rows = _rows(groups, len(similarity))
    first, second = (
        _shared(rows, _rows([proposal.sides[side] for proposal in held], len(similarity))) >= SAME
        for side in (0, 1)
    )
    proposed = first.astype(np.float32) @ second.T.astype(np.float32)
    mean = rows / rows.sum(axis=1, keepdims=True)
    between = mean @ similarity @ mean.T
    strongest = np.minimum(between.min(axis=1), 0)
    found = (proposed + proposed.T > 0) & (between <= MOSTLY * np.minimum.outer(strongest, strongest))
    np.fill_diagonal(found, False)
    return np.asarray(found)


def _parted(similarity: Floats, groups: list[Ints]) -> Conflict:
    """The two sides of some groups between which opposition adds up to most."""
    rows = _rows(groups, len(similarity))
    sums = rows @ similarity @ rows.T
    signs = np.array(
        [(1, *rest) for rest in product((1, -1), repeat=len(groups) - 1)][1:]
    )  # but one side of all
    best = signs[np.einsum("ra,ab,rb->r", signs, sums, signs).argmax()]
    first, second = (
        tuple(group for group, sign in zip(groups, best, strict=True) if sign == side) for side in (1, -1)
    )
    return Conflict(first, second)


def _weight(similarity: Floats, conflict: Conflict) -> float:
    """Opposition of the sides times the geometric mean of their sizes."""
    first, second = conflict.sides
    return -float(similarity[np.ix_(first, second)].mean()) * float(np.sqrt(len(first) * len(second)))


def _rows(groups: list[Ints], count: int) -> Floats:
    """Members as rows of ones, (G, count)."""
    found = np.zeros((len(groups), count), dtype=np.float32)
    for number, group in enumerate(groups):
        found[number, group] = 1
    return found


def _shared(first: Floats, second: Floats) -> Floats:
    """Common members of groups in rows, (G, M) and (H, M), as a share of the smaller one, (G, H)."""
    sizes = np.minimum.outer(first.sum(axis=1), second.sum(axis=1))
    return np.asarray(first @ second.T / np.maximum(sizes, 1))

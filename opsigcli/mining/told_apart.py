"""Pairs that are alike, told apart: features that are alike and labels in common make one pair of several otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.parts import parts
from opsigcli.mining.proposals import ALIKE, OPPOSED, OVERLAP, UNEQUAL, propose
from opsigcli.mining.simple import SMALLEST, linkage_groups
from opsigcli.mining.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

LEANING = 0.9  # separation of a proposal whose members are parted: others alike stand between
MOST = 0.5  # of the candidates, in such proposals: more belong to axes and whole classes; of rare pairs it was .4
ALONG = 0.35  # one less the cosine of two of a group, at most; features at a cosine of .6 are two groups
FAR = 0.5  # of the length of a group's mean, for members
ROUNDS = 3


def with_alike(
    pairs: list[Sides],
    similarity: Floats,
    evened: Floats,
    labels: Ints,
    examples: int,
    weights: Floats | None = None,
) -> list[Sides]:
    """The pairs that stand apart, groups told apart that do not, and what neither replaces of the others.

    Where features are alike and labels in common the clearest of several proposals often has members of several pairs.
    The group of an example shows in whom it is like, and opposed to, among all members of proposals: S among these has
    few eigenvalues beyond noise, and a group lies close together in their eigenvectors. All are decided at once, and
    paired so that groups oppose one another most. Evened features show them best, and small groups of any kind; what
    stands apart is left to the search in S, whose surrogates do the same.

    Args:
        pairs: as sought in S, disjoint.
        similarity: S of M candidates chosen out of more, (M, M), zero diagonal.
        evened: the same of evened features.
        labels: (M,).
        examples: N that they were chosen out of.
        weights: (M,) how many of these each row stands for (default: one).

    Returns:
        Disjoint rows of both sides of each pair.
    """

    def apart(sides: Sides) -> bool:
        return stands_apart(similarity, sides, parts(similarity, sides, labels), labels, examples, weights)

    clear = [sides for sides in pairs if apart(sides)]
    free = np.ones(len(similarity), dtype=bool)
    free[_members(clear)] = False
    leaning = [p.sides for p in propose(Starts(evened)) if p.leans and p.separation > LEANING]
    groups = [group[free[group]] for group in _groups(evened, _members(leaning))]
    anew = [sides for sides in _paired(evened, [g for g in groups if len(g) >= SMALLEST]) if not apart(sides)]
    free[_members(anew)] = False
    left = [(a[free[a]], b[free[b]]) for a, b in pairs if free[_members([(a, b)])].mean() > OVERLAP]
    return [*clear, *anew, *(sides for sides in left if min(map(len, sides)) >= SMALLEST)]


def _members(pairs: Sequence[Sides]) -> Ints:
    """Increasing rows."""
    none: Ints = np.zeros(0, dtype=np.int64)
    return np.unique(np.concatenate([none, *(side for pair in pairs for side in pair)]))


def _groups(similarity: Floats, some: Ints) -> list[Ints]:
    """Disjoint groups of rows that are alike in the directions in which ``some``, no more than half, differ."""
    if not 2 * SMALLEST <= len(some) <= MOST * len(similarity):
        return []
    place = _places(similarity, some)
    length = np.linalg.norm(place, axis=1)
    unit = place / np.maximum(length, 1e-9)[:, None]
    groups = [some[g] for g in linkage_groups(np.asarray(unit[some] @ unit[some].T), ALONG)]
    for _ in range(ROUNDS):
        if not groups:
            break
        means = np.stack([place[g].mean(axis=0) for g in groups])
        far = np.linalg.norm(means, axis=1)
        along = place @ (means / far[:, None]).T  # (M, groups)
        inside = (along > (1 - ALONG) * length[:, None]) & (along > FAR * far)
        nearest = along.argmax(axis=1)
        groups = [np.flatnonzero(inside[:, k] & (nearest == k)) for k in range(len(groups))]
        groups = [g for g in groups if len(g) >= SMALLEST]
    return groups


def _places(similarity: Floats, some: Ints) -> Floats:
    """Coordinates of all rows in the eigenvectors of S among ``some`` beyond its noise, (M, r).

    Inner products are S but for noise. Of noise with the mean square of S between ``some`` and all others, σ², no
    eigenvalue exceeds ``2 σ √n``. What the diagonal would be is filled in by the coordinates, from zeros.
    """
    from scipy.linalg import eigh

    inside = similarity[np.ix_(some, some)].astype(np.float64)
    between = np.delete(similarity[some], some, axis=1)
    noise = 2 * np.sqrt(np.square(between).mean(dtype=np.float64) * len(some))
    for _ in range(ROUNDS):
        values, axes = eigh(inside, subset_by_value=(noise, np.inf))
        own = axes * np.sqrt(values)
        np.fill_diagonal(inside, np.square(own).sum(axis=1))
    place = similarity[:, some] @ (axes / np.sqrt(values))
    place[some] = own
    return np.asarray(place)


def _paired(similarity: Floats, groups: list[Ints]) -> list[Sides]:
    """Groups in twos such that the sum of their opposition, in units of how much they are alike, is the largest."""
    import networkx as nx

    graph, within = nx.Graph(), [_mean(similarity, g, g) for g in groups]
    for a, first in enumerate(groups):
        for b, second in enumerate(groups[:a]):
            sizes, opposition = sorted((len(first), len(second))), -_mean(similarity, first, second)
            if min(within[a], within[b]) <= 0 or opposition < OPPOSED or sizes[1] > UNEQUAL * sizes[0]:
                continue
            if (alike := opposition / float(np.sqrt(within[a] * within[b]))) > ALIKE:
                graph.add_edge(b, a, weight=alike)
    return [
        (groups[a], groups[b]) for a, b in sorted(tuple(sorted(e)) for e in nx.max_weight_matching(graph))
    ]


def _mean(similarity: Floats, first: Ints, second: Ints) -> float:
    """Mean S of two different examples, one of either group."""
    pairs = len(first) * (len(second) - (first is second))
    return float(similarity[np.ix_(first, second)].sum(dtype=np.float64)) / pairs

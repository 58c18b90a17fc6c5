"""Groups by average linkage, pairs by matching, memberships refined against both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

CUT = 0.65  # of average linkage on 1 − S
SMALLEST = 5  # examples of a group
OPPOSED = -0.3  # mean S of two groups to be matched
STILL_OPPOSED = -0.15  # after refinement, which adds the less extreme members of a continuous axis
ROUNDS = 2


def linkage_groups(similarity: Floats, cut: float = CUT) -> list[Ints]:
    """Groups of at least 5 rows by average linkage on ``1 − S``, cut at ``cut``.

    Args:
        similarity: S, (M, M), symmetric.
        cut: largest mean distance inside a group.

    Returns:
        Increasing row indices of each group.
    """
    return linkage_cuts(similarity, (cut,))[0]


def linkage_cuts(similarity: Floats, cuts: Sequence[float]) -> list[list[Ints]]:
    """``linkage_groups`` at several cuts of one tree."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(similarity) < 2 * SMALLEST:
        return [[] for _ in cuts]
    # Who is that far from everybody is so from every group, and joins none.
    rows = np.flatnonzero(1 - similarity.max(axis=1) <= max(cuts))
    if len(rows) < SMALLEST:
        return [[] for _ in cuts]
    distance = np.maximum(1 - similarity[np.ix_(rows, rows)], 0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    found = []
    for cut in cuts:
        names = fcluster(tree, cut, criterion="distance")
        counts = np.bincount(names)
        found.append([rows[names == name] for name in np.flatnonzero(counts >= SMALLEST)])
    return found


def match_groups(similarity: Floats, groups: list[Ints]) -> list[Sides]:
    """Pairs of groups by maximum-weight matching on ``−mean S(A, B)``, where that is above .3."""
    import networkx as nx

    graph = nx.Graph()
    for a, first in enumerate(groups):
        for b in range(a):
            between = float(similarity[np.ix_(first, groups[b])].mean())
            if between < OPPOSED:
                graph.add_edge(b, a, weight=-between)
    matching = sorted(tuple(sorted(edge)) for edge in nx.max_weight_matching(graph))
    return [(groups[a], groups[b]) for a, b in matching]


def closeness(similarity: Floats, group: Ints) -> Floats:
    """Mean S of every row to the other members of ``group``, (M,)."""
    totals = similarity[group].sum(axis=0, dtype=np.float64)  # S is symmetric, its diagonal zero
    others = np.full(len(similarity), len(group))
    others[group] -= 1
    return np.asarray(totals / np.maximum(others, 1))


def refine(similarity: Floats, sides: Sides, share: float = 0.55) -> Sides:
    """Memberships of one pair, decided again from where every row stands between its two sides.

    With ``f_i = mean S(i, A) − mean S(i, B)``, a row belongs to A if f_i exceeds .55 of the members' median f
    (``share``), its mean S to A half of the members' median, and its mean S to B is below −.05; likewise for B.

    Args:
        similarity: S, (M, M), zero diagonal.
        sides: row indices of A and B.

    Returns:
        New A and B, disjoint.
    """
    return members_by(closeness(similarity, sides[0]), closeness(similarity, sides[1]), sides, share)


def members_by(to_first: Floats, to_second: Floats, sides: Sides, share: float) -> Sides:
    """The rule of ``refine``, from the mean S of every row to A (M,) and to B (M,)."""
    contrast = to_first - to_second
    return (
        _members(contrast, to_first, to_second, sides[0], share),
        _members(-contrast, to_second, to_first, sides[1], share),
    )


def _members(contrast: Floats, own: Floats, other: Floats, group: Ints, share: float) -> Ints:
    if len(group) == 0:
        return group
    return np.flatnonzero(
        (contrast > share * np.median(contrast[group]))
        & (own > 0.5 * np.median(own[group]))
        & (other < -0.05)
    )


def simple(similarity: Floats) -> list[Sides]:
    """Opposing pairs by the simple recipe: linkage, matching, two rounds of refinement; nothing more is asked.

    Args:
        similarity: residual-adjusted S, (M, M), zero diagonal.

    Returns:
        Row indices of the two sides of each pair, most opposed first; no row is in two groups.
    """
    pairs = match_groups(similarity, linkage_groups(similarity))
    for _ in range(ROUNDS):
        pairs = [refine(similarity, sides) for sides in pairs]
    pairs = [pair for pair in part(similarity, pairs) if min(map(len, pair)) >= SMALLEST]
    scored = [(float(similarity[np.ix_(*pair)].mean()), pair) for pair in pairs]
    kept = [(score, pair) for score, pair in scored if score < STILL_OPPOSED]
    return [pair for _, pair in sorted(kept, key=lambda item: (item[0], item[1][0][0]))]


def owner(contrasts: Floats, between: Floats) -> Ints:
    """The pair along whose own direction each row lies farthest, (M,).

    ``|Γ⁻¹c_i|_p / √(Γ⁻¹)_pp`` is the component along what the direction of pair p has beyond those of the others. Where
    features are alike, and so labels, members of one pair lean on another's side as well; the contrast alone would
    leave them to whichever pair is the stronger.

    Args:
        contrasts: c, (P, M) of every row with each pair: its mean S to A less that to B.
        between: Γ, (P, P): mean contrast of each pair's members, those of B counted with the opposite sign.
    """
    inverse = np.linalg.pinv(between, rcond=1e-3)
    scale = np.sqrt(np.maximum(np.diagonal(inverse), 1e-9))
    return np.asarray(np.abs(inverse @ contrasts / scale[:, None]).argmax(axis=0))


def owned(similarity: Floats, pairs: list[Sides]) -> Ints:
    """``owner`` of every row of S among some pairs, (M,)."""
    contrasts = np.stack([closeness(similarity, a) - closeness(similarity, b) for a, b in pairs])
    return owner(
        contrasts, np.stack([contrasts[:, a].mean(axis=1) - contrasts[:, b].mean(axis=1) for a, b in pairs])
    )


def part(similarity: Floats, pairs: list[Sides]) -> list[Sides]:
    """The same pairs, with a row that several of them claim left to the one where it stands out most."""
    if len(pairs) < 2:
        return pairs
    contrasts = np.stack([np.abs(closeness(similarity, a) - closeness(similarity, b)) for a, b in pairs])
    claimed = np.zeros(contrasts.shape, dtype=bool)
    for p, (first, second) in enumerate(pairs):
        claimed[p, first] = claimed[p, second] = True
    owner = np.where(claimed, contrasts, -np.inf).argmax(axis=0)
    return [(a[owner[a] == p], b[owner[b] == p]) for p, (a, b) in enumerate(pairs)]

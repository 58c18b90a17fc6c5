"""Memberships on a continuous axis: of all that lean one way or the other, those that the axis moves most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.parts import parts, to_nearest
from opsigcli.mining.simple import SMALLEST, closeness
from opsigcli.mining.verdict import APART, COHERENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.parts import Parts
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

OUTLIERS = 0.2  # of the examples, at most, are called members
BULK = 0.98  # quantile of what all others reach
RARE = 0.02  # of all examples, below which a pair's members are fewer than the others beyond that quantile
BETWEEN = 0.1  # of a rare pair's members: as many others may stand as far out


def pull(gradients: Sequence[Gradients], sides: Sides) -> Floats:
    """How much each example's loss changes along a pair's direction: root mean square of ``g_i · u``, (M,) nats.

    ``u`` has length 1 along the difference of the groups' mean gradients; the mean is over the checkpoints compared.
    Unlike a cosine it counts how large a gradient is: a step along u changes the loss of i by ``ε g_i · u``.
    """
    total: Floats = np.zeros(len(gradients[0].sketch))
    for at in gradients:
        direction = at.sketch[sides[0]].mean(axis=0) - at.sketch[sides[1]].mean(axis=0)
        length = float(np.linalg.norm(direction))
        if length > 0:
            total += np.square(at.sketch @ (direction / length), dtype=np.float64)
    return np.asarray(np.sqrt(total / len(gradients)))


def keep_outliers(
    pairs: list[Sides],
    similarity: Floats,
    gradients: Sequence[Gradients],
    weights: Floats | None = None,
    share: float = OUTLIERS,
    labels: Ints | None = None,
) -> list[Sides]:
    """The same pairs, with at most ``share`` of all examples in those that do not stand apart.

    On a continuous axis every example lies somewhere, and many small pairs would soon name most of the data. Of the
    members of such pairs those with the largest ``pull`` along their own pair's direction stay; a side that keeps
    fewer than 5 takes its pair along. Pairs whose groups stand apart keep all their members.

    Args:
        pairs: disjoint row indices of the two sides of each pair.
        similarity: S, (M, M), zero diagonal.
        gradients: of the same M candidates.
        weights: (M,) how many of all examples each row stands for (default: one).
        share: of all examples.
        labels: (M,), where sides of several labels may be several groups (default: none is).
    """
    weights = np.ones(len(similarity)) if weights is None else weights
    examples = float(weights.sum())
    whole, found = share * examples, dict(enumerate(pairs))

    def apart(sides: Sides) -> bool:
        of = None if labels is None else parts(similarity, sides, labels)
        return stands_apart(similarity, sides, of, labels, examples, weights)

    tails = {
        p: pull(gradients, sides)[np.concatenate(sides)] for p, sides in found.items() if not apart(sides)
    }
    while tails:
        rows = np.concatenate([np.concatenate(pairs[p]) for p in tails])
        order = np.argsort(-np.concatenate(list(tails.values())), kind="stable")
        stay = rows[order[np.cumsum(weights[rows[order]]) <= whole]]
        for p in tails:
            first, second = (side[np.isin(side, stay)] for side in pairs[p])
            found[p] = first, second
        small = [p for p in tails if min(map(len, found[p])) < SMALLEST]
        if not small:
            break
        for p in small:  # what they leave goes to the others
            del found[p], tails[p]
    return list(found.values())


def reached(
    others: Floats, alike: NDArray[np.bool_], members: int, examples: float, weights: Floats | None = None
) -> Floats:
    """How far out other examples stand: the larger one of two numbers for each row of contrasts.

    The 98 % quantile of all of them; and that of those with the members' labels, as on an axis within some classes only
    these stand between its ends. Of a pair that has fewer than 2 % of all examples the rest of its own tail would be
    beyond that quantile: where tails are long the last few stand far out from the bulk, with others all the way
    between. There the second number is what a tenth as many others reach as there are members, as one in ten of these
    may fall short of theirs.

    Candidates that were chosen out of more examples are the far ends of all, and most of the others in the middle were
    left out: those that were drawn stand for these in both quantiles.

    Args:
        others: sizes of contrast, (R, others).
        alike: (R, others), which of them have a label of some member; as many in each row.
        members: of both sides.
        examples: N, among which they were found, candidates or not.
        weights: (R, others), how many examples each stands for (default: one).

    Returns:
        (R,); 0 where there are no others.
    """
    found = _bulk(others, weights) if others.shape[1] else np.zeros(len(others))
    near = others[alike].reshape(len(others), -1)
    count = near.shape[1]
    if not count:
        return np.asarray(found)
    if members >= RARE * examples:
        stand_for = None if weights is None else weights[alike].reshape(near.shape)
        return np.asarray(np.maximum(found, _bulk(near, stand_for)))
    kth = min(int(np.ceil(BETWEEN * members)), count)
    return np.asarray(np.maximum(found, np.partition(near, count - kth, axis=1)[:, count - kth]))


def _bulk(sizes: Floats, weights: Floats | None) -> Floats:
    """The 98 % quantile of each row, (R,).

    With weights w the sorted sizes are at the places ``Σ_{j<k} w_j + w_k / 2``, from 0 at the first to 1 at the last,
    and straight lines join them: with equal ones the places are those of the quantile without.
    """
    if weights is None:
        return np.asarray(np.quantile(sizes, BULK, axis=1))
    order = np.argsort(sizes, axis=1, kind="stable")
    sizes, weights = (np.take_along_axis(of, order, axis=1) for of in (sizes, weights))
    places = np.cumsum(weights, axis=1) - weights / 2
    places = (places - places[:, :1]) / np.maximum(places[:, -1:] - places[:, :1], 1e-12)
    return np.array([np.interp(BULK, at, of) for at, of in zip(places, sizes, strict=True)])


def stands_apart(
    similarity: Floats,
    sides: Sides,
    of: Parts | None = None,
    labels: Ints | None = None,
    examples: float = 0,
    weights: Floats | None = None,
    left_out: NDArray[np.bool_] | None = None,
) -> bool:
    """Whether two sides are discrete, as the verdict has it."""
    far = separation(similarity, sides, of, labels, examples, weights, left_out)
    return far > APART and cohesion(similarity, sides, of) > COHERENT


def cohesion(similarity: Floats, sides: Sides, of: Parts | None = None) -> float:
    """Mean similarity of a member to the others of its group, the smaller of both sides, as in the evidence.

    Args:
        similarity: S, (M, M), zero diagonal.
        sides: rows of both.
        of: the groups of either side (default: each side is one).
    """
    both = zip(sides, of or ([sides[0]], [sides[1]]), strict=True)
    return min(float(to_nearest(similarity, groups)[side].mean()) for side, groups in both)


def separation(
    similarity: Floats,
    sides: Sides,
    of: Parts | None = None,
    labels: Ints | None = None,
    examples: float = 0,
    weights: Floats | None = None,
    left_out: NDArray[np.bool_] | None = None,
) -> float:
    """10 % quantile of the members' contrast over what all others reach.

    As in the evidence, which asks more of rare pairs (``reached``). The contrast is that of ``lean``.

    Args:
        similarity: S, (M, M), zero diagonal.
        sides: rows of both.
        of: the groups of either side (default: each side is one).
        labels: (M,), where others with the members' labels count by themselves (default: they do not).
        examples: N, where more is asked of pairs that are rare among these (default: of none).
        weights: (M,) how many of all examples each row stands for (default: one).
        left_out: (M,) who is none of the others (``other_pairs``; default: nobody).
    """
    far, members = lean(similarity, sides, of), np.concatenate(sides)
    others = np.ones(len(similarity), dtype=bool) if left_out is None else ~left_out
    others[members] = False
    outside = far[others]
    alike = np.zeros(len(outside), dtype=bool)
    if labels is not None:
        alike = np.isin(labels[others], labels[members])
    stand_for = None if weights is None else weights[others][None]
    bulk = float(reached(outside[None], alike[None], len(members), examples, stand_for)[0])
    return float(np.quantile(far[members], 0.1)) / max(bulk, 1e-3)


def lean(similarity: Floats, sides: Sides, of: Parts | None = None) -> Floats:
    """Contrast of every row with a pair, of members to their own side, of others to the one that it is larger to, (M,).

    The mean S to a side, or to that of its groups that is most alike, less that to the whole other side.

    Args:
        similarity: S, (M, M), zero diagonal.
        sides: rows of both.
        of: the groups of either side (default: each side is one).
    """
    first, second = of or ([sides[0]], [sides[1]])
    to_first = to_nearest(similarity, first) - closeness(similarity, sides[1])
    to_second = to_nearest(similarity, second) - closeness(similarity, sides[0])
    found = np.maximum(to_first, to_second)
    found[sides[0]], found[sides[1]] = to_first[sides[0]], to_second[sides[1]]
    return np.asarray(found)

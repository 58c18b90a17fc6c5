"""The groups that one side of a pair consists of, where those of different labels have nothing in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import SMALLEST, closeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]
    Parts = tuple[Sequence[Ints], Sequence[Ints]]


def parts(similarity: Floats, sides: Sides, labels: Ints) -> Parts:
    """Either side as one group, or as the groups that ``conflicts`` may have put together.

    Of a side with several labels of at least five members each these are its groups, where the mean S of two members
    of different ones is at most 0; members of other labels are with those that they are most like. On an axis members
    are alike whatever their labels. By labels and not by similarity: what is parted by noise would be alike by it.

    Args:
        similarity: S, (M, M), zero diagonal.
        sides: rows of both.
        labels: (M,).
    """
    first, second = (_parted(similarity, side, labels) for side in sides)
    return first, second


def to_nearest(similarity: Floats, groups: Sequence[Ints]) -> Floats:
    """Mean S of every row to the other members of the group that it is most like, (M,); of members to their own."""
    near = np.stack([closeness(similarity, group) for group in groups])
    found = near.max(axis=0)
    for own, group in zip(near, groups, strict=True):
        found[group] = own[group]
    return np.asarray(found)


def _parted(similarity: Floats, side: Ints, labels: Ints) -> list[Ints]:
    named, counts = np.unique(labels[side], return_counts=True)
    large = named[counts >= SMALLEST]
    if len(large) < 2:
        return [side]
    groups = [side[labels[side] == label] for label in large]
    rest = side[~np.isin(labels[side], large)]
    if len(rest):
        own = np.stack([closeness(similarity, group)[rest] for group in groups]).argmax(axis=0)
        groups = [np.sort(np.concatenate([group, rest[own == k]])) for k, group in enumerate(groups)]
    within = sum(float(similarity[np.ix_(group, group)].sum(dtype=np.float64)) for group in groups)
    between = float(similarity[np.ix_(side, side)].sum(dtype=np.float64)) - within
    return groups if between <= 0 else [side]

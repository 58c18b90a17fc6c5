"""Where the search for opposing pairs starts: groups that are alike, and the surroundings of examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import SMALLEST, closeness, linkage_cuts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

STARTS = 500  # examples to start from, those with the most negative similarities
NEAREST = 8  # examples of a start's sides
TOGETHER = 16  # of these starts made at once; they stay in the processor's cache
CUTS = (0.5, 0.65, 0.75, 0.85)  # of average linkage


class Starts:
    """Where refinement starts in similarities S (M, M): groups of linkage, then the surroundings of examples.

    Made once for all searches in S. Where sides are ``given``, they are all that there is.
    """

    def __init__(self, similarity: Floats, most: int = STARTS, given: list[Sides] | None = None) -> None:
        self.similarity = similarity
        self._groups: list[Sides] = given or []
        self._examples: list[Sides] = []
        if given is None and len(similarity) >= 2 * SMALLEST:
            self._groups, self._examples = list(_of_linkage(similarity)), list(_of_examples(similarity, most))

    def first(self, most: int) -> list[Sides]:
        """The groups, and the surroundings of the ``most`` most opposed examples."""
        return self._groups + self._examples[:most]


def _of_linkage(similarity: Floats) -> Iterator[Sides]:
    """Groups of average linkage, each with its most negative partner."""
    for groups in linkage_cuts(similarity, CUTS):
        if len(groups) < 2:
            continue
        average = np.zeros((len(groups), len(similarity)))
        for number, group in enumerate(groups):
            average[number, group] = 1 / len(group)
        for number, group in enumerate(groups):
            partners = average @ closeness(similarity, group)
            partners[number] = np.inf
            yield group, groups[int(partners.argmin())]


def _of_examples(similarity: Floats, most: int) -> Iterator[Sides]:
    """The surroundings of single examples, the most opposed first."""
    k = min(NEAREST, len(similarity) // 2 - 1)
    chosen = np.argsort(-opposition_degree(similarity), kind="stable")[:most]
    for rows in np.split(chosen, range(TOGETHER, len(chosen), TOGETHER)):
        near = _lowest(-similarity[rows], k)
        towards = similarity[near].sum(axis=1)
        opposed = _lowest(towards, k)
        contrast = towards - similarity[opposed].sum(axis=1)
        first, second = (_lowest(sign * contrast, k) for sign in (-1, 1))
        yield from zip(np.sort(first), np.sort(second), strict=True)


def opposition_degree(similarity: Floats, count: int = 5) -> Floats:
    """Minus the mean of the five lowest S of each row, (M,)."""
    k = min(count, similarity.shape[1] - 1)
    return np.asarray(-np.take_along_axis(similarity, _lowest(similarity, k), axis=1).mean(axis=1))


def _lowest(rows: Floats, count: int) -> Ints:
    """Columns of the ``count`` lowest entries of each row, the lowest first; a few minima beat a partition."""
    left, every = np.array(rows), np.arange(len(rows))
    found = np.empty((len(rows), count), dtype=np.int64)
    for number in range(count):
        found[:, number] = left.argmin(axis=1)
        left[every, found[:, number]] = np.inf
    return found

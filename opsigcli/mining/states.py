"""Many proposals of two opposing groups side by side: refined, and measured, with one sparse product for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.simple import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]
    Rows = tuple[Floats, Floats]  # (R, M) float32 each, 1 for a member

SHARE = 0.55  # of the members' mean contrast, for members
CLEAR = 1.5  # separation beyond which a proposal is not the better for it


class Measures(NamedTuple):
    """What R proposals are judged by, (R,) each."""

    opposition: Floats  # −mean S(A, B)
    within_first: Floats  # mean S of two members of the first side
    within_second: Floats
    separation: Floats  # 10 % quantile of the members' contrast over the 98 % quantile of the others' size

    @property
    def score(self) -> Floats:
        """Opposition times separation, capped."""
        return np.asarray(self.opposition * np.minimum(self.separation, CLEAR))


class States:
    """The sides of R proposals as rows, so that one product with S (M, M), symmetric, serves all of them."""

    def __init__(self, similarity: Floats, both: Floats, totals: Floats) -> None:
        self.similarity = similarity
        self._both, self._totals = both, totals  # (2, R, M): 1 for a member; sums of S over the members
        self.first, self.second = both
        self.sizes = self.first.sum(axis=1), self.second.sum(axis=1)
        # A member's similarity to its own side leaves itself out; S has a zero diagonal.
        self.to_first, self.to_second = totals / np.maximum(np.stack(self.sizes)[:, :, None] - both, 1)
        self.contrast = self.to_first - self.to_second

    @classmethod
    def of(cls, similarity: Floats, starts: Sequence[Sides]) -> States:
        """The states whose sides are these."""
        rows = np.zeros((2, len(starts), len(similarity)), dtype=np.float32)
        for number, (first, second) in enumerate(starts):
            rows[0, number, first] = rows[1, number, second] = 1
        return cls(similarity, rows, _sums(rows, similarity))

    def moved(self, refined: Rows, rows: NDArray[np.bool_]) -> States:
        """Some rows with the sides that others have become; sums change by who came and who left, and these are few."""
        both = np.stack([refined[0][rows], refined[1][rows]])
        totals = self._totals[:, rows]
        totals += _sums(both - self._both[:, rows], self.similarity)
        return States(self.similarity, both, totals)

    def refined(self, share: float = SHARE) -> Rows:
        """Both sides by the rule of ``simple.refine``, with means in place of medians."""
        first = _members(self.contrast, self.to_first, self.to_second, self.first, self.sizes[0], share)
        second = _members(-self.contrast, self.to_second, self.to_first, self.second, self.sizes[1], share)
        return first, second

    def unlike(self, refined: Rows) -> NDArray[np.bool_]:
        """Which rows others have replaced, (R,)."""
        return np.asarray(((self.first != refined[0]) | (self.second != refined[1])).any(axis=1))

    def large_enough(self) -> Ints:
        """Rows with at least 5 members a side, and at most half of all."""
        small, both = np.minimum(*self.sizes), np.add(*self.sizes)
        return np.flatnonzero((small >= SMALLEST) & (both <= self.first.shape[1] / 2))

    def measured(self, rows: Ints) -> Measures:
        """What some rows, none without members, are judged by."""
        first, second, contrast = self.first[rows], self.second[rows], self.contrast[rows]
        n_first, n_second = self.sizes[0][rows], self.sizes[1][rows]
        to_first, to_second = self.to_first[rows], self.to_second[rows]
        members = (first + second) > 0
        # Sorted, as with so many equal values a partition takes longer.
        bulk = np.sort(np.abs(np.where(members, 0, contrast)), axis=1)[:, int(0.98 * contrast.shape[1])]
        own = np.sort(np.where(members, contrast * (first - second), np.inf), axis=1)
        low = own[np.arange(len(rows)), (0.1 * (n_first + n_second)).astype(np.int64)]
        return Measures(
            -_inner(first, to_second) / n_first,
            _inner(first, to_first) / n_first,
            _inner(second, to_second) / n_second,
            low / np.maximum(bulk, np.float32(1e-3)),
        )


def _sums(both: Floats, similarity: Floats) -> Floats:
    """``both @ S`` of what is zero nearly everywhere, (2, R, M)."""
    from scipy.sparse import csr_array

    at, m = np.flatnonzero(both != 0), len(similarity)
    ends = np.searchsorted(at, np.arange(0, both.size + 1, m))
    shape = both.size // m, m
    rows = csr_array((both.ravel()[at], (at % m).astype(np.int32), ends.astype(np.int32)), shape=shape)
    return np.asarray(rows @ similarity).reshape(both.shape)


def _inner(first: Floats, second: Floats) -> Floats:
    """Inner products of rows, (R,)."""
    return np.asarray(np.einsum("rm,rm->r", first, second))


def _members(
    contrast: Floats, own: Floats, other: Floats, side: Floats, size: Floats, share: float
) -> Floats:
    count = np.maximum(size, 1)
    usual, usual_own = (_inner(side, of) / count for of in (contrast, own))
    # Nobody is alike to a side whose members do not stand out.
    bar = np.where(usual > 0, np.float32(share) * usual, np.inf)
    inside = contrast > bar[:, None]
    inside &= own > (np.float32(0.5) * usual_own)[:, None]
    inside &= other < -0.05
    return np.asarray(inside, dtype=np.float32)

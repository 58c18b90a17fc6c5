"""The examples whose loss changed most in each step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.blocks import delta_blocks
from opsigcli.records import TopDeltas

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

BLOCK = 1024  # examples whose maximum is taken at once
HELD = 1 << 16  # values held, beside those wanted, before they are sorted out
NOBODY = np.iinfo(np.int64).max


def largest(values: Floats, k: int, ids: Ints) -> Ints:
    """Positions of the k largest values, largest first, ties by lower id; NaN and −∞ never count."""
    if not (k and len(values)):
        return np.zeros(0, dtype=np.int64)
    best = _Best(1, k, ids, kind=values.dtype)
    best.offer(values[None], 0)
    return best.found()[0][0]


def top_deltas(losses: Any, ids: Ints, steps: Ints, k: int) -> tuple[TopDeltas, ...]:
    """The k most positive and the k most negative loss deltas of every step.

    Args:
        losses: (T, N) nats, array or h5py dataset, read in blocks; NaN = not measured.
        ids: (N,) example ids; ties go to the lower id.
        steps: (T,) optimizer updates.
        k: examples on each side; fewer come back where fewer were measured.

    Returns:
        T − 1 records, one per neighbouring pair of checkpoints.

    Reference:
        Rosenfeld & Risteski 2023, arXiv 2311.04163, section 2 (its rule with k = 20).
    """
    k = min(k, len(ids))
    if not k:
        none = ids[:0], np.zeros(0, dtype=np.float32)
        return tuple(TopDeltas(int(a), int(b), *none, *none) for a, b in pairwise(steps))
    records: list[TopDeltas] = []
    sides: tuple[_Best, ...] = ()
    for band, columns, deltas in delta_blocks(losses):
        if columns.start == 0:
            sides = tuple(_Best(len(deltas), k, ids, sign=sign) for sign in (1, -1))
        for side in sides:
            side.offer(deltas, columns.start)
        if columns.stop == len(ids):
            for t, (up, down) in enumerate(zip(*(side.found() for side in sides), strict=True), band.start):
                found = ids[up[0]], up[1], ids[down[0]], down[1]
                records.append(TopDeltas(int(steps[t]), int(steps[t + 1]), *found))
    return tuple(records)


class _Best:
    """The k largest values of each of R rows (the smallest, with ``sign`` −1) that are offered block by block.

    A row's k largest block maxima are k of its values, so that the least of them is no more than its k-th largest
    value: only blocks that reach it are looked into, and only what reaches it is held.
    """

    def __init__(self, rows: int, k: int, ids: Ints, sign: int = 1, kind: Any = np.float32) -> None:
        self._k, self._ids, self._sign = k, ids, np.dtype(kind).type(sign)
        self._maxima = np.full((rows, k), -np.inf, dtype=kind)  # of the k best blocks
        self._bound = np.full(rows, -np.inf, dtype=kind)  # at most the k-th largest value
        self._rival = np.full(rows, NOBODY)  # id of a k-th value at the bound: equals need a lower one
        self._held: list[tuple[Ints, Ints, Floats]] = []  # rows, positions, values
        self._count = 0

    def offer(self, values: Floats, start: int) -> None:
        """Look at (R, w) values of the examples from ``start`` on."""
        length = values.shape[1]
        # Until there is a bound, blocks are so small that this one piece gives it.
        width = BLOCK if np.isfinite(self._bound).all() else min(BLOCK, max(length // (4 * self._k), 1))
        whole = length // width * width
        self._look(values[:, :whole], width, start)
        self._look(values[:, whole:], length - whole, start + whole)
        if self._count > HELD + 2 * self._maxima.size:
            self._sort_out()

    def found(self) -> list[tuple[Ints, Floats]]:
        """Positions and values of each row's k largest, largest first, equal ones by lower id."""
        self._sort_out()
        rows, positions, values = self._held[0]
        edges = np.searchsorted(rows, np.arange(len(self._bound) + 1))
        return [(positions[a:b], values[a:b] * self._sign) for a, b in pairwise(edges)]

    def _look(self, values: Floats, width: int, start: int) -> None:
        if not values.shape[1]:
            return
        blocks = values.reshape(len(values), -1, width)
        maxima = np.fmax.reduce(blocks, axis=2) if self._sign > 0 else -np.fmin.reduce(blocks, axis=2)
        maxima[np.isnan(maxima)] = -np.inf
        if not (maxima >= self._bound[:, None]).any():
            return
        best = np.concatenate([self._maxima, maxima], axis=1)
        best.partition(best.shape[1] - self._k, axis=1)
        self._maxima = best[:, -self._k :]
        least = self._maxima.min(axis=1)
        self._rival[least > self._bound] = NOBODY
        self._bound = np.maximum(self._bound, least)
        reach = maxima > self._bound[:, None]
        tied = maxima == self._bound[:, None]
        if tied.any():
            lowest = self._ids[start : start + values.shape[1]].reshape(-1, width).min(axis=1)
            reach |= tied & (lowest < self._rival[:, None]) & (maxima > -np.inf)
        rows, which = np.nonzero(reach)
        if not len(rows):
            return
        inside, bound = blocks[rows, which], self._bound[rows, None]
        flat = np.flatnonzero(inside >= bound if self._sign > 0 else inside <= -bound)
        hit, at = np.divmod(flat, width)
        rows, positions = rows[hit], start + which[hit] * width + at
        kept = inside.ravel()[flat] * self._sign
        better = (kept > self._bound[rows]) | (self._ids[positions] < self._rival[rows])
        self._held.append((rows[better], positions[better], kept[better]))
        self._count += int(better.sum())

    def _sort_out(self) -> None:
        """Keep each row's k largest of what is held."""
        none = np.zeros(0, dtype=np.int64)
        held = [(none, none, none.astype(self._bound.dtype)), *self._held]
        rows, positions, values = (np.concatenate(part) for part in zip(*held, strict=True))
        order = np.lexsort((self._ids[positions], -values, rows))
        order = order[values[order] > -np.inf]
        rank = np.arange(len(order)) - np.searchsorted(rows[order], rows[order])
        last = order[rank == self._k - 1]
        self._bound[rows[last]], self._rival[rows[last]] = values[last], self._ids[positions[last]]
        order = order[rank < self._k]
        self._held, self._count = [(rows[order], positions[order], values[order])], len(order)

"""The examples whose loss changed most in each step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.blocks import blocks, delta_blocks
from opsigcli.mining_records import (
    TopDeltas,
)

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

BLOCK = 1024  # examples whose maximum is taken at once
HELD = 1 << 16  # values held, beside those wanted, before they are sorted out
NOBODY = np.iinfo(np.int64).max


def largest(values: Floats, k: int, ids: Ints) -> Ints:
    """Positions of the k largest values, largest first, ties by lower id; NaN and −∞ never count."""
    if not (k and len(values)):
        return np.zeros(0, dtype=np.int64)
    best = _Best(1, k, ids, signs=(1,), kind=values.dtype)
    best.offer(values[None], 0)
    return best.found()[0][0]


def top_deltas(losses: Any, ids: Ints, steps: Ints, k: int, deltas: Any = None) -> tuple[TopDeltas, ...]:
    """The k most positive and the k most negative loss deltas of every step.

    Args:
        losses: (T, N) nats, array or h5py dataset, read in blocks; NaN = not measured.
        ids: (N,) example ids; ties go to the lower id.
        steps: (T,) optimizer updates.
        k: examples on each side; fewer come back where fewer were measured.
        deltas: (T−1, N) the loss deltas, where they are stored; losses are not read then.

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
    best = _Best(0, k, ids)
    for band, columns, block in delta_blocks(losses) if deltas is None else blocks(deltas):
        if columns.start == 0:
            best = _Best(len(block), k, ids)
        best.offer(block, columns.start)
        if columns.stop == len(ids):
            found = best.found()
            for t, up, down in zip(range(band.start, band.stop), found, found[len(block) :], strict=False):
                sides = ids[up[0]], up[1], ids[down[0]], down[1]
                records.append(TopDeltas(int(steps[t]), int(steps[t + 1]), *sides))
    return tuple(records)


class _Best:
    """The k largest values of each of R rows, and the k smallest, of what is offered block by block.

    Every row is two lines: its values, and its values with the sign changed. A line's k largest block maxima are k of
    its values, so that the least of them is no more than its k-th largest value: only blocks that reach it are looked
    into, and only what reaches it is held.
    """

    def __init__(
        self, rows: int, k: int, ids: Ints, signs: tuple[int, ...] = (1, -1), kind: Any = np.float32
    ) -> None:
        self._rows, self._k, self._ids, self._signs = rows, k, ids, signs
        lines = rows * len(signs)
        self._sign = np.repeat(np.array(signs, dtype=kind), rows)  # of each line
        self._maxima = np.full((lines, k), -np.inf, dtype=kind)  # of the k best blocks
        self._bound = np.full(lines, -np.inf, dtype=kind)  # at most the k-th largest value
        self._rival = np.full(lines, NOBODY)  # id of a k-th value at the bound: equals need a lower one
        self._held: list[tuple[Ints, Ints, Floats]] = []  # lines, positions, values
        self._count = 0
        self._bounded = False

    def offer(self, values: Floats, start: int) -> None:
        """Look at (R, w) values of the examples from ``start`` on."""
        length = values.shape[1]
        # Until there is a bound, blocks are so small that this one piece gives it.
        width = BLOCK if self._bounded else min(BLOCK, max(length // (4 * self._k), 1))
        whole = length // width * width
        self._look(values[:, :whole], width, start)
        self._look(values[:, whole:], length - whole, start + whole)
        if self._count > HELD + 2 * self._maxima.size:
            self._sort_out()

    def found(self) -> list[tuple[Ints, Floats]]:
        """Positions and values of each line's k largest, largest first, equal ones by lower id."""
        self._sort_out()
        lines, positions, values = self._held[0]
        values = values * self._sign[lines]
        edges = np.searchsorted(lines, np.arange(len(self._bound) + 1))
        return [(positions[a:b], values[a:b]) for a, b in pairwise(edges)]

    def _look(self, values: Floats, width: int, start: int) -> None:
        if not values.shape[1]:
            return
        parts = values.reshape(len(values), -1, width)
        maxima = np.concatenate(
            [
                np.fmax.reduce(parts, axis=2, initial=-np.inf)
                if sign > 0
                else -np.fmin.reduce(parts, axis=2, initial=np.inf)
                for sign in self._signs
            ]
        )
        reach = maxima >= self._bound[:, None]
        if not reach.any():
            return
        best = np.concatenate([self._maxima, maxima], axis=1)
        best.partition(best.shape[1] - self._k, axis=1)
        self._maxima = best[:, -self._k :]
        least = self._maxima.min(axis=1)
        higher = least > self._bound
        if higher.any():
            self._rival[higher] = NOBODY
            self._bound = np.maximum(self._bound, least)
            self._bounded = bool(np.isfinite(self._bound).all())
            reach = maxima >= self._bound[:, None]
        if (self._rival != NOBODY).any():
            lowest = self._ids[start : start + values.shape[1]].reshape(-1, width).min(axis=1)
            reach &= (maxima > self._bound[:, None]) | (lowest < self._rival[:, None])
        lines, which = np.nonzero(reach)
        if not len(lines):
            return
        inside, bound = parts[lines % self._rows, which], self._bound[lines, None]
        ups = int(np.searchsorted(lines, self._rows))  # lines of largest values come first
        hits = np.concatenate([inside[:ups] >= bound[:ups], inside[ups:] <= -bound[ups:]])
        flat = np.flatnonzero(hits)
        hit, at = np.divmod(flat, width)
        lines, positions = lines[hit], start + which[hit] * width + at
        kept = inside.ravel()[flat] * self._sign[lines]
        better = (kept > self._bound[lines]) | (self._ids[positions] < self._rival[lines])
        self._held.append((lines[better], positions[better], kept[better]))
        self._count += int(better.sum())

    def _sort_out(self) -> None:
        """Keep each line's k largest of what is held."""
        none = np.zeros(0, dtype=np.int64)
        held = [(none, none, none.astype(self._bound.dtype)), *self._held]
        lines, positions, values = (np.concatenate(part) for part in zip(*held, strict=True))
        order = np.lexsort((self._ids[positions], -values, lines))
        order = order[values[order] > -np.inf]
        rank = np.arange(len(order)) - np.searchsorted(lines[order], lines[order])
        last = order[rank == self._k - 1]
        self._bound[lines[last]], self._rival[lines[last]] = values[last], self._ids[positions[last]]
        order = order[rank < self._k]
        self._held, self._count = [(lines[order], positions[order], values[order])], len(order)

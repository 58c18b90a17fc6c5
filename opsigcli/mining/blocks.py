"""A loss trace read in blocks that fit the store's chunks, so that no more than one row of it is ever held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsigcli.records import Floats, Ints

SHAPE = (16, 16384)  # checkpoints × examples, where the trace names no chunks of its own


def blocks(matrix: Any) -> Iterator[tuple[slice, slice, Floats]]:
    """A matrix block by block: those of one band of rows follow one another from the first column to the last.

    Args:
        matrix: (T, N), array or h5py dataset.

    Yields:
        Rows, columns, and what is there, float32 (16 × 16,384 or the dataset's chunks; fewer at the rim).
    """
    rows, columns = matrix.shape
    height, width = getattr(matrix, "chunks", None) or SHAPE
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            band, part = slice(top, min(top + height, rows)), slice(left, min(left + width, columns))
            yield band, part, np.asarray(matrix[band, part], dtype=np.float32)


def delta_blocks(losses: Any) -> Iterator[tuple[slice, slice, Floats]]:
    """Loss deltas ``losses[t+1] − losses[t]`` block by block; every loss is read once.

    A block is overwritten when the next one is asked for.

    Args:
        losses: (T, N) nats, array or h5py dataset.

    Yields:
        Steps, examples, and their deltas, float32.
    """
    last = np.empty(losses.shape[1], dtype=np.float32)  # the last checkpoint of the band before
    space = np.empty((0, 0), dtype=np.float32)
    for band, columns, rows in blocks(losses):
        first = max(band.start, 1)  # the first checkpoint that ends a step
        shape = band.stop - first, rows.shape[1]
        if space.shape != shape:
            space = np.empty(shape, dtype=np.float32)
        with np.errstate(invalid="ignore"):  # inf − inf is NaN, which counts as not measured
            np.subtract(rows[1:], rows[:-1], out=space[len(space) - len(rows) + 1 :])
            if band.start:
                np.subtract(rows[0], last[columns], out=space[0])
        last[columns] = rows[-1]
        if len(space):
            yield slice(first - 1, band.stop - 1), columns, space


def columns_of(losses: Any, positions: Ints) -> Floats:
    """Losses of some examples, (T, M) float32; every row is read once, and only these examples are kept."""
    found = np.empty((len(losses), len(positions)), dtype=np.float32)
    for t in range(len(losses)):
        found[t] = np.asarray(losses[t])[positions]
    return found

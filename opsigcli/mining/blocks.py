"""A loss trace read in blocks that fit the store's chunks, so that no more than one row of it is ever held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsigcli.records import Floats, Ints

SHAPE = (16, 16384)  # checkpoints × examples, where the trace names no chunks of its own


def delta_blocks(losses: Any) -> Iterator[tuple[slice, slice, Floats]]:
    """Loss deltas ``losses[t+1] − losses[t]`` block by block; every loss is read once.

    The blocks of one band of steps follow one another from the first example to the last. A block is overwritten when
    the next one is asked for.

    Args:
        losses: (T, N) nats, array or h5py dataset.

    Yields:
        Steps, examples, and their deltas, float32 (16 × 16,384 or the dataset's chunks; fewer at the rim).
    """
    checkpoints, examples = losses.shape
    height, width = getattr(losses, "chunks", None) or SHAPE
    last = np.empty(examples, dtype=np.float32)  # the last checkpoint of the band before
    space = np.empty((height, width), dtype=np.float32)
    for top in range(0, checkpoints, height):
        bottom = min(top + height, checkpoints)
        first = max(top, 1)  # the first checkpoint that ends a step
        for left in range(0, examples, width):
            columns = slice(left, min(left + width, examples))
            rows = np.asarray(losses[top:bottom, columns], dtype=np.float32)
            deltas = space[: bottom - first, : rows.shape[1]]
            with np.errstate(invalid="ignore"):  # inf − inf is NaN, which counts as not measured
                np.subtract(rows[1:], rows[:-1], out=deltas[len(deltas) - len(rows) + 1 :])
                if top:
                    np.subtract(rows[0], last[columns], out=deltas[0])
            last[columns] = rows[-1]
            if len(deltas):
                yield slice(first - 1, bottom - 1), columns, deltas


def columns_of(losses: Any, positions: Ints) -> Floats:
    """Losses of some examples, (T, M) float32; every row is read once, and only these examples are kept."""
    found = np.empty((len(losses), len(positions)), dtype=np.float32)
    for t in range(len(losses)):
        found[t] = np.asarray(losses[t])[positions]
    return found

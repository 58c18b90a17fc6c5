"""The examples whose loss changed most in each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.records import TopDeltas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

BLOCK = 512


def delta_rows(losses: Any) -> Iterator[Floats]:
    """Loss deltas ``losses[t+1] − losses[t]`` for t = 0 … T−2, (N,) float32 each; every row is read once.

    Args:
        losses: (T, N), nats: an array, or an h5py dataset, of which only single rows are sliced.
    """
    previous = np.asarray(losses[0], dtype=np.float32)
    for t in range(1, len(losses)):
        row = np.asarray(losses[t], dtype=np.float32)
        with np.errstate(invalid="ignore"):  # inf − inf is NaN, which counts as not measured
            yield row - previous
        previous = row


def largest(values: Floats, k: int, ids: Ints) -> Ints:
    """Positions of the k largest values, largest first, ties by lower id; NaN never counts.

    The k largest lie in the k blocks with the largest maxima, so one pass finds a few blocks and only those
    are sorted.
    """
    k = min(k, len(values))
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    if np.isnan(np.sum(values)):
        values = np.where(np.isnan(values), -np.inf, values)
    whole = len(values) // BLOCK
    if whole > 4 * k:
        maxima = values[: whole * BLOCK].reshape(whole, BLOCK).max(axis=1)
        blocks = np.argpartition(-maxima, k - 1)[:k]
        inside = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        inside = np.concatenate([inside, np.arange(whole * BLOCK, len(values))])
    else:
        inside = np.arange(len(values))
    bound = np.partition(values[inside], len(inside) - k)[len(inside) - k]  # the k-th largest value
    above = inside[values[inside] > bound]
    tied = np.flatnonzero(values == bound)
    wanted = k - len(above)
    if len(tied) > wanted:
        tied = tied[np.argsort(ids[tied], kind="stable")[:wanted]]
    chosen: Ints = np.concatenate([above, tied])
    chosen = chosen[values[chosen] > -np.inf]
    ordered: Ints = chosen[np.lexsort((ids[chosen], -values[chosen]))]
    return ordered


def top_deltas(losses: Any, ids: Ints, steps: Ints, k: int) -> tuple[TopDeltas, ...]:
    """The k most positive and the k most negative loss deltas of every step.

    Args:
        losses: (T, N) nats, array or h5py dataset; NaN = not measured.
        ids: (N,) example ids; ties go to the lower id.
        steps: (T,) optimizer updates.
        k: examples on each side; fewer come back where fewer were measured.

    Returns:
        T − 1 records, one per neighbouring pair of checkpoints.

    Reference:
        Rosenfeld & Risteski 2023, arXiv 2311.04163, section 2 (its rule with k = 20).
    """
    found = []
    for t, delta in enumerate(delta_rows(losses)):
        up, down = largest(delta, k, ids), largest(-delta, k, ids)
        found.append(TopDeltas(int(steps[t]), int(steps[t + 1]), ids[up], delta[up], ids[down], delta[down]))
    return tuple(found)


def measured(losses: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which checkpoints hold any finite loss (T,), and which examples are finite at all of those (N,)."""
    examples = np.ones(losses.shape[1], dtype=bool)
    rows = np.zeros(len(losses), dtype=bool)
    for t in range(len(losses)):
        finite = np.isfinite(np.asarray(losses[t]))
        rows[t] = finite.any()
        if rows[t]:
            examples &= finite
    return rows, examples

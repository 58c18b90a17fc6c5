"""What one reading of a loss trace, checkpoint by checkpoint, says about all examples; it holds a few rows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mean_loss import MeanLoss, RunningMean
from opsigcli.mining_records import WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from opsigcli.records import Floats

FEWEST = 2  # loss deltas of which shares are said: one is a fall of the loss, and shows no swing
SKIPPED = 0.1  # of the steps: the first fall of the loss is no oscillation


@dataclass(frozen=True)
class Survey:
    """A trace summed up. ``H = Δℓ − running mean over 5 steps − median over examples``: its high-passed loss deltas."""

    rows: NDArray[np.bool_]  # (T,) the checkpoint holds a finite loss
    examples: NDArray[np.bool_]  # (N,) the example is finite at every such checkpoint
    mean_loss: MeanLoss
    amplitude: Floats  # (T−1,) mean over examples of |H|, nats; NaN where a checkpoint was not measured
    medians: (
        Floats  # (T−1,) what is taken from every example's delta beside its running mean, nats; NaN likewise
    )
    energy: Floats  # (N,) sum of H² over the steps after the first 10 %, nats²
    peak: Floats  # (N,) largest |H| over the same steps, nats


def first_step(steps: int) -> int:
    """First loss delta that counts as oscillation, out of ``steps``."""
    return round(SKIPPED * steps)


def survey(losses: Any, counted: NDArray[np.bool_] | None = None, weights: Floats | None = None) -> Survey:
    """Read a loss trace once (a second time for its mean loss, where some example is not always measured).

    Args:
        losses: (T, N) nats, array or h5py dataset; NaN = not measured.
        counted: (N,) False = its label says to ignore it; None = all count.
        weights: (N,) of each example in the mean loss; None = all alike.
    """
    checkpoints, n = losses.shape
    steps = max(checkpoints - 1, 0)
    rows, examples = np.zeros(checkpoints, dtype=bool), np.ones(n, dtype=bool)
    running = RunningMean(checkpoints, n, counted, weights)
    amplitude, medians = np.full(steps, np.nan), np.full(steps, np.nan, dtype=np.float32)
    energy, peak = np.zeros(n), np.zeros(n, dtype=np.float32)

    def deltas() -> Iterator[Floats]:
        previous = None
        for t in range(checkpoints):
            row = np.asarray(losses[t], dtype=np.float32)
            finite = np.isfinite(row)
            rows[t] = finite.any()
            if rows[t]:
                np.logical_and(examples, finite, out=examples)
            running.add(row)
            if previous is not None:
                with np.errstate(invalid="ignore"):  # inf − inf is NaN, which counts as not measured
                    yield np.subtract(row, previous, out=previous)
            previous = row.copy()

    for t, found in enumerate(minus_running_mean(deltas(), steps)):
        finite = np.isfinite(found)
        if not finite.any():
            continue
        whole = bool(finite.all())
        medians[t] = np.median(found if whole else found[finite])
        size = np.subtract(found, medians[t], out=found)
        if not whole:
            size[~finite] = 0
        np.abs(size, out=size)
        amplitude[t] = size.sum(dtype=np.float64) / finite.sum()
        if t >= first_step(steps):
            np.maximum(peak, size, out=peak)
            energy += np.square(size, dtype=np.float64)
    return Survey(rows, examples, running.of(losses), amplitude, medians, energy, peak)


def minus_running_mean(deltas: Iterator[Floats], steps: int) -> Iterator[Floats]:
    """Each row of loss deltas minus its running mean over 5 steps, the row's own included; new arrays.

    Too short a trace has no slow part to take out.
    """
    if steps < WINDOW:
        yield from (row.copy() for row in deltas)
        return
    half = WINDOW // 2
    window: deque[Floats] = deque()
    first = 0  # step of the window's first row
    for t in range(steps):
        while first + len(window) <= min(t + half, steps - 1):
            window.append(next(deltas))
        while first < t - half:
            window.popleft()
            first += 1
        mean = _nan_mean(window)
        with np.errstate(invalid="ignore"):
            yield np.subtract(window[t - first], mean, out=mean)


def _nan_mean(rows: deque[Floats]) -> Floats:
    """Mean over rows, leaving out what is not finite; NaN where nothing is left."""
    total = rows[0].copy()
    with np.errstate(invalid="ignore"):
        for row in list(rows)[1:]:
            total += row
    if np.isfinite(total).all():
        total /= len(rows)
        return total
    total[:] = 0
    counts = np.zeros(total.shape, dtype=np.int8)
    for row in rows:
        finite = np.isfinite(row)
        counts += finite
        np.add(total, row, out=total, where=finite)
    return np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)

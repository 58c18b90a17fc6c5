"""What oscillates: the fast part of the loss deltas, when it is large, and in which examples."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.top import delta_rows, largest, measured

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

WINDOW = 5  # steps of the running mean that is taken out
SKIPPED = 0.1  # of the steps: the first fall of the loss is no oscillation
SEGMENTS = 8  # checkpoints whose gradients are compared
EARLY = 4  # one in so many of them comes from the first 10 %
FALLEN = 0.02  # of the steps, at which gradients still are as the initialisation made them


@dataclass(frozen=True)
class Oscillation:
    """High-passed loss deltas ``H = Δℓ − running mean over 5 steps − median over examples``, summed up."""

    amplitude: Floats  # (T−1,) mean over examples of |H|, nats; NaN where a checkpoint was not measured
    energy: Floats  # (N,) sum of H² over the steps after the first 10 %, nats²
    peak: Floats  # (N,) largest |H| over the same steps, nats
    chosen: Floats  # (T−1, M) H of the examples asked for; NaN where not measured


def oscillation(losses: Any, positions: Ints | None = None) -> Oscillation:
    """High-passed loss deltas of a trace, read row by row.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        positions: M examples whose own H is kept (default: none).

    Returns:
        Amplitude per step, energy and peak per example, and H of ``positions``.
    """
    steps, n = len(losses) - 1, losses.shape[1]
    kept = np.zeros(0, dtype=np.int64) if positions is None else positions
    energy, peak = np.zeros(n), np.zeros(n, dtype=np.float32)
    amplitude = np.full(steps, np.nan)
    chosen = np.full((steps, len(kept)), np.nan, dtype=np.float32)
    half = WINDOW // 2 if steps >= WINDOW else 0  # too short a trace has no slow part to take out
    rows = delta_rows(losses)
    window: deque[tuple[int, Floats]] = deque()
    ahead = -1  # last row in the window
    for t in range(steps):
        while ahead < min(t + half, steps - 1):
            ahead += 1
            window.append((ahead, next(rows)))
        while window[0][0] < t - half:
            window.popleft()
        delta = next(row for at, row in window if at == t)
        fast = delta - _nan_mean([row for _, row in window]) if half else delta
        finite = np.isfinite(fast)
        if not finite.any():
            continue
        fast = fast - np.median(fast if finite.all() else fast[finite])
        known = fast if finite.all() else np.where(finite, fast, np.float32(0))
        size = np.abs(known)
        amplitude[t] = size.sum(dtype=np.float64) / finite.sum()
        chosen[t] = fast[kept]
        if t >= first_step(steps):
            energy += np.square(known, dtype=np.float64)
            np.maximum(peak, size, out=peak)
    return Oscillation(amplitude, energy, peak, chosen)


def deltas_of(losses: Any, positions: Ints) -> Floats:
    """Loss deltas of some examples, (T−1, M) nats; every row is read once."""
    return np.stack([row[positions] for row in delta_rows(losses)])


def _nan_mean(rows: list[Floats]) -> Floats:
    """Mean over rows, leaving out what is not finite; NaN where nothing is left."""
    total = np.sum(rows, axis=0)
    if np.isfinite(total).all():
        return np.asarray(total / len(rows))
    stacked = np.stack(rows)
    finite = np.isfinite(stacked)
    counts = finite.sum(axis=0)
    sums = np.where(finite, stacked, 0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def first_step(steps: int) -> int:
    """First loss delta that counts as oscillation, out of ``steps``."""
    return round(SKIPPED * steps)


def checkpoints_to_compare(
    losses: Any, count: int = SEGMENTS, window: tuple[int, int] | None = None
) -> list[int]:
    """Indices of the checkpoints whose gradients are worth comparing: one per segment of the trace.

    A quarter of the segments lie in the first 10 % of the steps (but for the first 2 %), before the network fits
    single examples, where weak features are seen best; the others share the rest equally. Each segment gives the
    checkpoint before its largest mean ``|H|``. Checkpoints that were not measured are never chosen.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        count: how many at most.
        window: loss deltas to stay within, first and one after the last (default: all after the first 10 %).

    Returns:
        Increasing indices into the checkpoints, fewer than ``count`` in a short trace.
    """
    if len(losses) < 2:
        return [0] if len(losses) and np.isfinite(np.asarray(losses[0])).any() else []
    amplitude = oscillation(losses).amplitude
    steps = len(amplitude)
    start, end = (first_step(steps), steps) if window is None else window
    fallen = max(1, round(FALLEN * steps))
    early = 0 if window is not None else min(count // EARLY, max(start - fallen, 0))
    segments = np.array_split(np.arange(fallen, start), early) if early else []
    segments += np.array_split(np.arange(start, end), min(count - early, end - start))
    indices = []
    for segment in segments:
        if np.isfinite(amplitude[segment]).any():
            indices.append(int(segment[np.nanargmax(amplitude[segment])]))
    return indices


def choose_candidates(losses: Any, limit: int, seed: int = 0) -> Ints:
    """Positions of the examples whose gradients are compared.

    All that were measured at every checkpoint, if they are at most ``limit``. Otherwise half of ``limit`` goes to the
    largest energy of H, a quarter to the largest single |H|, and the rest is drawn at random, as the reference
    that nulls and residual baselines need.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        limit: how many at most.
        seed: of the random part.

    Returns:
        Increasing positions.
    """
    usable = np.flatnonzero(measured(losses)[1]).astype(np.int64)
    if len(usable) <= limit:
        return usable
    found = oscillation(losses)
    by_energy = usable[largest(found.energy[usable], limit // 2, usable)]
    rest = np.setdiff1d(usable, by_energy)
    by_peak = rest[largest(found.peak[rest], limit // 4, rest)]
    rest = np.setdiff1d(rest, by_peak)
    drawn = np.random.default_rng(seed).choice(rest, limit - len(by_energy) - len(by_peak), replace=False)
    return np.sort(np.concatenate([by_energy, by_peak, drawn]))

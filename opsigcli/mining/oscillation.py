"""What oscillates: high-passed loss deltas, when they are large, and in which examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.blocks import columns_of
from opsigcli.mining.top import largest
from opsigcli.mining.trace_stats import Survey, first_step, minus_running_mean, survey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

SEGMENTS = 8  # checkpoints whose gradients are compared
EARLY = 4  # one in so many of them comes from the first 10 %
FALLEN = 0.02  # of the steps, at which gradients still are as the initialisation made them


@dataclass(frozen=True)
class Oscillation:
    """Loss deltas of some examples, and ``H = Δℓ − running mean over 5 steps − median over all examples``."""

    deltas: Floats  # (T−1, M) nats
    high_passed: Floats  # (T−1, M) H, nats; NaN where not measured


def oscillation(losses: Any, positions: Ints, seen: Survey | None = None) -> Oscillation:
    """High-passed loss deltas of some examples of a trace, read row by row.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        positions: of M examples.
        seen: the survey of these losses, where it was made before.
    """
    seen = survey(losses) if seen is None else seen
    with np.errstate(invalid="ignore"):  # inf − inf is NaN, which counts as not measured
        deltas = np.diff(columns_of(losses, positions), axis=0)
    high_passed = np.empty_like(deltas)
    for t, row in enumerate(minus_running_mean(iter(deltas), len(deltas))):
        high_passed[t] = row - seen.medians[t]
    high_passed[~np.isfinite(high_passed)] = np.nan
    return Oscillation(deltas, high_passed)


def checkpoints_to_compare(
    losses: Any,
    count: int = SEGMENTS,
    window: tuple[int, int] | None = None,
    seen: Survey | None = None,
    there: NDArray[np.bool_] | None = None,
) -> list[int]:
    """Indices of the checkpoints whose gradients are worth comparing: one per segment of the trace.

    A quarter of the segments lie in the first 10 % of the steps (but for the first 2 %), before the network fits
    single examples, where weak features are seen best; the others share the rest equally. Each segment gives the
    checkpoint before its largest mean ``|H|``. Checkpoints that were not measured, or are gone, are never chosen.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        count: how many at most.
        window: loss deltas to stay within, first and one after the last (default: all after the first 10 %).
        seen: the survey of these losses, where it was made before.
        there: (T,) False where a checkpoint is gone (default: all are there).

    Returns:
        Increasing indices into the checkpoints, fewer than ``count`` in a short trace.
    """
    left = np.ones(len(losses), dtype=bool) if there is None else there
    if len(losses) < 2:
        return [0] if len(losses) and left[0] and np.isfinite(np.asarray(losses[0])).any() else []
    amplitude = (survey(losses) if seen is None else seen).amplitude
    steps = len(amplitude)
    start, end = (first_step(steps), steps) if window is None else window
    fallen = max(1, round(FALLEN * steps))
    first, later = (np.arange(*bounds) for bounds in ((fallen, max(start, fallen)), (start, end)))
    first, later = first[left[first]], later[left[later]]
    early = 0 if window is not None else min(count // EARLY, len(first))
    segments = np.array_split(first, early) if early else []
    segments += np.array_split(later, min(count - early, len(later))) if len(later) else []
    indices = []
    for segment in segments:
        if np.isfinite(amplitude[segment]).any():
            indices.append(int(segment[np.nanargmax(amplitude[segment])]))
    return indices


def choose_candidates(losses: Any, limit: int, seed: int = 0, seen: Survey | None = None) -> Ints:
    """Positions of the examples whose gradients are compared.

    All that were measured at every checkpoint, if they are at most ``limit``. Otherwise half of ``limit`` goes to the
    largest energy of H, a quarter to the largest single |H|, and the rest is drawn at random, as the reference
    that nulls and residual baselines need.

    Args:
        losses: (T, N) nats, array or h5py dataset.
        limit: how many at most.
        seed: of the random part.
        seen: the survey of these losses, where it was made before.

    Returns:
        Increasing positions.
    """
    found = survey(losses) if seen is None else seen
    usable = np.flatnonzero(found.examples).astype(np.int64)
    if len(usable) <= limit:
        return usable
    by_energy = usable[largest(found.energy[usable], limit // 2, usable)]
    left = found.examples.copy()  # a mask: sets of many positions are slow
    left[by_energy] = False
    rest = np.flatnonzero(left)
    by_peak = rest[largest(found.peak[rest], limit // 4, rest)]
    left[by_peak] = False
    rest = np.flatnonzero(left)
    drawn = np.random.default_rng(seed).choice(rest, limit - len(by_energy) - len(by_peak), replace=False)
    return np.sort(np.concatenate([by_energy, by_peak, drawn]))

"""The first oscillation of a run: later ones mix the directions of several pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.trace_stats import first_step

if TYPE_CHECKING:
    from opsigcli.records import Floats

SHORTEST = 12  # loss deltas, so that segments and held-out steps remain
FALLEN = 0.5  # of the peak


def first_window(amplitude: Floats) -> tuple[int, int]:
    """The loss deltas of the first oscillation: its swing up to the peak, until it has fallen to half of that.

    It sets in where the amplitude (median of three steps) first exceeds the geometric mean of its 10 % and 90 %
    quantile after the first 10 % of the steps; its peak is the largest amplitude before the first fall below half of
    the largest so far; the window begins where half the peak is first reached.

    Args:
        amplitude: (T−1,) mean over examples of |H|, nats; NaN = not measured.

    Returns:
        First loss delta and the one after the last. The whole trace where nothing was measured.
    """
    start, steps = first_step(len(amplitude)), len(amplitude)
    if steps < 2 * SHORTEST or not np.nan_to_num(amplitude[start:]).any():
        return 0, steps
    padded = np.pad(np.nan_to_num(amplitude), 1, mode="edge")
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    low, high = np.quantile(smooth[start:], (0.1, 0.9))
    above = smooth[start:] > np.sqrt(max(low, 1e-12) * high)
    onset = start + int(np.argmax(above))
    largest = np.maximum.accumulate(smooth[onset:])
    fallen = np.flatnonzero(smooth[onset:] < FALLEN * largest)
    fallen = fallen[fallen >= SHORTEST]
    end = onset + int(fallen[0]) if len(fallen) else steps
    begin = onset + int(np.argmax(smooth[onset:end] >= FALLEN * smooth[onset:end].max()))
    return max(0, min(begin, end - SHORTEST)), end

"""From values to places: round ticks, linear and logarithmic scales, and thinning of long curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints


@dataclass(frozen=True)
class Scale:
    """A map from values to 0 … 1, linear or logarithmic; values outside are put on the border."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where ``value`` lies between ``low`` (0) and ``high`` (1)."""
        value = min(max(value, self.low), self.high)
        if self.high <= self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 4) -> list[float]:
        """About ``count`` round values between ``low`` and ``high``."""
        return log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, count)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], about ``count`` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    unit = min((m * power for m in (1, 2, 5, 10)), key=lambda unit: abs(math.log(unit / rough)))
    first, last = math.ceil(low / unit - 1e-9), math.floor(high / unit + 1e-9)
    digits = max(0, -math.floor(math.log10(unit)))
    return [round(k * unit, digits) + 0.0 for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], thinned to at most six; 2 and 5 times them where there are few."""
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    stride = max(1, math.ceil(len(exponents) / 6))
    ticks = [10.0**e for e in exponents if e % stride == 0]
    if len(exponents) < 3:
        every = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [m * 10.0**e for e in every for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return ticks


def value_scale(values: Iterable[float], *, allow_log: bool = False) -> Scale:
    """The scale for a chart's values: with zero where it is near, and a little air.

    With ``allow_log``, positive values that span more than two decades get a logarithmic scale.
    """
    finite = [float(v) for v in values if math.isfinite(v)]
    if not finite:
        return Scale(0.0, 1.0)
    positive = [v for v in finite if v > 0]
    if allow_log and positive and min(finite) >= 0 and max(positive) > 100 * min(positive):
        return Scale(min(positive) / 1.2, max(positive) * 1.2, log=True)
    low, high = min(finite), max(finite)
    if 0 < low < 0.5 * high:
        low = 0.0
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low if low == 0 else low - margin, high + margin)


def tick_text(value: float) -> str:
    """A tick as few characters: 12000 is 12k, and 2.5e15, beyond what letters stand for, 2.5e15."""
    if abs(value) >= 1e12 and math.isfinite(value):
        digits, _, power = f"{value:.3e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def apart(x: Ints, y: Floats) -> tuple[Floats, Floats]:
    """Points of a curve with a gap (NaN) between those that are much further apart than is usual.

    The usual distance is the largest but for a tenth of them; a gap is more than twice as wide.

    Args:
        x: (n,) ascending steps.
        y: (n,) values.

    Returns:
        (m,) steps and (m,) values, float64.
    """
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(places) < 3:
        return places, values
    wide = np.diff(places)
    usual = np.sort(wide)[int(0.9 * (len(wide) - 1))]
    gaps = np.flatnonzero(wide > 2 * usual)
    middle = (places[gaps] + places[gaps + 1]) / 2
    return np.insert(places, gaps + 1, middle), np.insert(values, gaps + 1, math.nan)


def decimate(x: Floats | Ints, y: Floats, bins: int = 500) -> Ints:
    """Indices that keep a curve's look: the first, the last, and in each of ``bins`` the least and the greatest.

    A bin with a value that is no number keeps one such value as well, so that gaps stay gaps.

    Args:
        x: (T,) ascending positions.
        y: (T,) values.
        bins: equal parts of the range of ``x``.

    Returns:
        (K,) ascending indices into ``y``; all of them when T is at most twice ``bins``.
    """
    total = len(y)
    if total <= 2 * bins:
        return np.arange(total)
    edges = np.searchsorted(x, np.linspace(float(x[0]), float(x[-1]), bins + 1))
    edges[-1] = total
    keep = {0, total - 1}
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        part = np.asarray(y[start:stop], dtype=np.float64)
        bad = np.isnan(part)
        if bad.any():
            keep.add(int(start + np.argmax(bad)))
        if not bad.all():
            keep.add(int(start + np.nanargmin(part)))
            keep.add(int(start + np.nanargmax(part)))
    return np.array(sorted(keep))

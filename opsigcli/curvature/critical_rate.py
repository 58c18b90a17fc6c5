"""The critical learning rate along a direction, from values of the loss alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

MOST_PASSES = 9  # evaluations of the loss, the one at the start included: fewer than ten
RESOLUTION = 0.02  # the bracket's upper end over its lower end, less 1, at which to stop
FARTHEST = 16.0  # most that one evaluation goes beyond the last one, as a factor
ASIDE = 0.4 * RESOLUTION  # how far beside the expected place to look, to have it between two evaluations


@dataclass(frozen=True)
class CriticalRate:
    """Between which multiples of a step the loss comes back to where it started.

    The loss was at or below its start at ``low`` and above it at ``high``. ``low`` is 0 where it was above at every
    multiple tried, ``high`` infinite where it never was.
    """

    low: float
    high: float
    passes: int  # evaluations of the loss
    error: float  # relative, of ``value``: half the bracket, and what rounding of the loss adds

    @property
    def found(self) -> bool:
        """Both ends are known, and rounding leaves them apart."""
        return self.low > 0 and math.isfinite(self.high) and self.error < 0.5

    @property
    def value(self) -> float:
        """The geometric mean of the two ends."""
        return math.sqrt(self.low * self.high)


def critical_rate(
    loss: Callable[[float], float], *, rounding: float, most: int = MOST_PASSES
) -> CriticalRate:
    """The critical multiple ``s_c = min {s > 0 : L(θ + sΔ) > L(θ)}`` of a step Δ, in a bracket.

    For ``L = ½ xᵀHx`` with gradient g it is ``s_c = −2 gᵀΔ / ΔᵀHΔ``. The bracket comes from doubling or halving s = 1,
    and from the straight line through the last two values of ``(L(θ + sΔ) − L(θ)) / s``, which on a quadratic are on a
    line that is 0 at s_c; within the bracket that line gives the next place to look, and halves it where the line gains
    little. A rise between two places that were looked at, narrower than their distance, is not seen.

    Args:
        loss: of the multiple s, in nats; one that is not finite counts as risen.
        rounding: relative error of a loss.
        most: evaluations, the one at s = 0 included.

    Reference:
        Kalra et al. 2026, arXiv 2601.16979, section 2: the critical learning rate by a line search.
    """
    base = loss(0.0)
    rises: dict[float, float] = {}  # in the order in which they were looked at

    def risen(s: float) -> bool:
        rise = loss(s) - base
        rises[s] = rise if math.isfinite(rise) else math.inf
        return rises[s] > 0

    low, high, s = 0.0, math.inf, 1.0
    while len(rises) + 1 < most and not (low > 0 and high < math.inf):
        if risen(s):
            high = s
        else:
            low = s
        s = _outside(rises, s)
    widths = [math.inf]
    while len(rises) + 1 < most and low > 0 and 1 + RESOLUTION < high / low < math.inf:
        widths.append(math.log(high / low))
        slow = len(widths) > 4 and widths[-1] > widths[-4] / 2
        s = math.sqrt(low * high) if slow else _inside(rises, low, high)
        if risen(s):
            high = s
        else:
            low = s
    return CriticalRate(low, high, len(rises) + 1, _error(rises, low, high, 2 * rounding * abs(base)))


def _zero(rises: dict[float, float], one: float, other: float) -> float:
    """Where the line through two values of rise ÷ s is 0; NaN where there is none."""
    first, second = rises[one] / one, rises[other] / other
    if not (math.isfinite(first) and math.isfinite(second)) or first == second:
        return math.nan
    return one - first * (one - other) / (first - second)


def _outside(rises: dict[float, float], s: float) -> float:
    """The next multiple to look at where all so far are on one side: beyond s if it was not risen, else below."""
    sign = -1 if rises[s] > 0 else 1
    zero = _zero(rises, s, list(rises)[-2]) if len(rises) > 1 else math.nan
    factor = 2.0 if len(rises) == 1 else 4.0
    if zero > 0 and (zero - s) * sign > 0:
        factor = (zero / s) ** sign * (1 + ASIDE)
    # Lines mislead where the loss is far from a quadratic: they may creep once, and not for long.
    return s * min(max(factor, 1.25, 2.0 ** (len(rises) - 1)), FARTHEST) ** sign


def _inside(rises: dict[float, float], low: float, high: float) -> float:
    """The next multiple within a bracket: where a curve through rise ÷ s is 0, and a little on towards the farther end.

    The curve has log s as a parabola of rise ÷ s, through the two ends and the value nearest to them, or as a line.
    """
    x = {s: (math.log(s), rise / s) for s, rise in rises.items() if math.isfinite(rise)}
    nearest = sorted(set(x) - {low, high}, key=lambda s: min(abs(x[s][0] - math.log(e)) for e in (low, high)))
    zero = math.nan
    if high in x:
        for others in (nearest[:1], []):
            zero = _through([x[low], x[high], *(x[s] for s in others)])
            if math.log(low) <= zero <= math.log(high):
                break
    left, right = math.log(low), math.log(high)
    if not left <= zero <= right:
        return math.sqrt(low * high)
    beside = max(ASIDE, (right - left) / 16)
    zero += -beside if zero - left > right - zero else beside
    return math.exp(zero) if left < zero < right else math.sqrt(low * high)


def _through(points: list[tuple[float, float]]) -> float:
    """x at y = 0 of the polynomial in y through the points (x, y); NaN where two have one y."""
    found = 0.0
    for i, (x, y) in enumerate(points):
        others = [other for j, (_, other) in enumerate(points) if j != i]
        if y in others:
            return math.nan
        found += x * math.prod(other / (other - y) for other in others)
    return found


def _error(rises: dict[float, float], low: float, high: float, rounding: float) -> float:
    """Relative error: half the bracket, and the rounding of a rise over the slope of rises at the zero.

    Where the rise is ``a s (s − s_c)`` its slope at s_c is a s_c; a is that of the value farthest from s_c.
    """
    if not (low > 0 and high < math.inf):
        return math.inf
    middle = math.sqrt(low * high)
    known = [s for s, rise in rises.items() if math.isfinite(rise)]
    far = max(known, key=lambda s: abs(rises[s]), default=middle)
    size = abs(rises[far]) * middle**2 / (far * abs(far - middle)) if known and far != middle else 0.0
    return (high - low) / (high + low) + (rounding / size if size else math.inf)

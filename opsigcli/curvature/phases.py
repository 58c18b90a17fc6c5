"""What the sharpness did along a run, in words: progressive sharpening, the edge of stability, catapults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opsigcli.sentences import decimals
from opsigcli.sharpness_records import Phase, SharpnessPoint

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

EDGE, PAST = 0.9, 2.0  # stability ratios from which a point is at the edge, and past it
RISE = 1.2  # a sharpening of less is not called progressive
STEADY = 2 / 3  # share of the points of a sharpening that are above the one before
SPIKE = 1.1  # a catapult's mean loss rises at least this much …
FLATTER = 0.75  # … and leaves a sharpness at most this share of the largest before it


def phases(points: Sequence[SharpnessPoint], steps: Ints, mean_losses: Floats) -> tuple[Phase, ...]:
    """The stretches of a run that have a name, by where they begin.

    - *progressive sharpening*: below the edge (stability ratio < 0.9), sharpness rises by at least 20 % over three
      points or more, with at least two thirds of the points above the one before.
    - *at the edge*: ratio from 0.9 to 2; *past the edge*: 2 and more. A single point between two of another kind
      counts as theirs.
    - *catapult*: from a point with ratio ≥ 1 the mean loss rises by more than 10 %, and afterwards it is back where it
      began while the sharpness is below the threshold and at most 75 % of its largest value in between.

    Only converged points count, each among its neighbours of the same quantity: sharpness, or preconditioned
    sharpness in the same units. Without thresholds only sharpening can be told.

    Args:
        points: by step.
        steps: (T,) of the loss trace.
        mean_losses: (T,) nats.

    Reference:
        Cohen et al. 2021, arXiv 2103.00065, section 3; Lewkowycz et al. 2020, arXiv 2003.02218, section 2.
    """
    used = [p for p in points if p.converged and np.isfinite(_value(p))]
    found: list[Phase] = []
    for _, alike in itertools.groupby(used, _quantity):
        found += _phases_of_one(list(alike), steps, mean_losses)
    return tuple(sorted(found, key=lambda phase: (phase.first_step, phase.last_step)))


def _quantity(point: SharpnessPoint) -> tuple[bool, str]:
    """What its value is of: no rise is from sharpness to preconditioned sharpness, as where SGD gives way to Adam."""
    return point.preconditioned is not None, point.units.rpartition("): ")[2]


def _phases_of_one(used: Sequence[SharpnessPoint], steps: Ints, mean_losses: Floats) -> list[Phase]:
    at = np.array([p.step for p in used], dtype=np.int64)
    values = np.array([_value(p) for p in used])
    ratios = np.array([np.nan if p.ratio is None else p.ratio for p in used])
    running = any(p.fixed_statistics for p in used)
    note = ", with BatchNorm's statistics held fixed, as they were not in the steps" if running else ""
    found = list(_stretches(at, values, ratios, note))
    return found + list(_catapults(at, values, ratios, steps, mean_losses))


def _value(point: SharpnessPoint) -> float:
    return point.eigenvalues[0] if point.preconditioned is None else point.preconditioned


def _stretches(at: Ints, values: Floats, ratios: NDArray[np.float64], note: str) -> Iterator[Phase]:
    kinds = np.where(ratios >= PAST, 2, np.where(ratios >= EDGE, 1, 0))
    for i in range(1, len(kinds) - 1):
        if kinds[i - 1] == kinds[i + 1] != kinds[i]:
            kinds[i] = kinds[i - 1]
    start = 0
    for kind, run in itertools.groupby(kinds):
        stop = start + len(list(run))
        here = slice(start, stop)
        if kind:
            name = "at the edge" if kind == 1 else "past the edge"
            told = ratios[here][np.isfinite(ratios[here])]  # one between that the weights contradict has none
            middle = float(np.median(told))
            least, most = (decimals(float(pick(told))) for pick in (np.min, np.max))
            text = (
                f"{_counted(len(told))}, stability ratio {least} to {most}, median {decimals(middle)}{note}"
            )
            yield Phase(name, int(at[start]), int(at[stop - 1]), text)
        else:
            # The first point at the edge belongs to the rise that led there.
            rise = _sharpening(at, values, ratios, start, min(stop + 1, len(at)))
            if rise is not None:
                yield rise
        start = stop


def _sharpening(at: Ints, values: Floats, ratios: NDArray[np.float64], start: int, stop: int) -> Phase | None:
    """The rise from the lowest point to the highest after it."""
    if stop - start < 3:
        return None
    low = start + int(np.argmin(values[start:stop]))
    high = low + int(np.argmax(values[low:stop]))
    part = values[low : high + 1]
    if len(part) < 3 or part[0] <= 0 or part[-1] < RISE * part[0] or np.mean(np.diff(part) > 0) < STEADY:
        return None
    text = f"sharpness rose from {part[0]:.4g} to {part[-1]:.4g}"
    if np.isfinite(ratios[[low, high]]).all():
        text += f", stability ratio from {decimals(float(ratios[low]))} to {decimals(float(ratios[high]))}"
    return Phase("progressive sharpening", int(at[low]), int(at[high]), text)


def _catapults(
    at: Ints, values: Floats, ratios: NDArray[np.float64], steps: Ints, losses: Floats
) -> Iterator[Phase]:
    place = 0
    while place < len(at):
        phase = _catapult(place, at, values, ratios, steps, losses) if ratios[place] >= 1 else None
        if phase is None:
            place += 1
        else:
            yield phase
            place = int(np.searchsorted(at, phase.last_step)) + 1


def _catapult(
    start: int, at: Ints, values: Floats, ratios: NDArray[np.float64], steps: Ints, losses: Floats
) -> Phase | None:
    """A catapult that begins at point ``start``: the first later point where all of it is over."""
    first = int(np.searchsorted(steps, at[start]))
    if first == len(steps) or steps[first] != at[start] or not losses[first] > 0:
        return None
    for end in range(start + 1, len(at)):
        peak = float(values[start:end].max())
        last = int(np.searchsorted(steps, at[end], side="right"))
        between = losses[first:last]
        rise = float(np.nanmax(between) / losses[first])
        over = ratios[end] < 1 and values[end] <= FLATTER * peak
        if over and rise > SPIKE and between[-1] <= losses[first]:
            top = int(steps[first + int(np.nanargmax(between))])
            text = (
                f"mean loss {losses[first]:.3g} to {float(np.nanmax(between)):.3g} at checkpoint {top} and back to "
                f"{between[-1]:.3g}; sharpness from {peak:.4g} to {values[end]:.4g}"
            )
            return Phase("catapult", int(at[start]), int(at[end]), text)
    return None


def _counted(points: int) -> str:
    return f"{points} point{'s' if points > 1 else ''}"

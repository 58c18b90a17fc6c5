"""Whether a model puts out its targets on another scale: numbers that training standardised, or took logarithms of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.doubt_records import OtherScale
from opsigcli.runs.normalisations import ERRORS, apart

if TYPE_CHECKING:
    from opsigcli.records import Floats

# R² from which outputs are of a scale: those of networks as they begin may go along with the targets a little.
CLEAR = 0.5
LEAST = 20  # examples, from which a line is fitted
# Times what a line leaves: a usual scale that leaves more is not the one. Of small networks the right one left up to
# 1.9 times as much, and the nearest to one that is not usual 3.5 times.
WORSE = 3.0
FLAT = 0.05  # of the targets' variance: outputs that differ by less, and lie as near to the mean, are of no example


def other_scale(outputs: Floats, targets: Floats, weights: Floats) -> OtherScale | None:
    """The scale of targets that the outputs are on, with which they do clearly better than the best constant does.

    Usual ones are tried. Of one target, a line ``z = a y + b`` with a > 0 is fitted, and is it where it leaves less.

    Args:
        outputs: (n, C) z, on which the raw targets are no better explained than by a constant.
        targets: (n, C) y.
        weights: (n,) of each example, adding up to 1.
    """
    usual = [
        OtherScale(name, formula, explained)
        for name, formula, scaled in _scales(targets)
        if (explained := _explained(outputs, scaled, weights)) is not None
    ]
    best = max(usual, key=lambda one: one.explained, default=None)
    line = _line(outputs, targets, weights)
    if line is not None and (best is None or 1 - best.explained > WORSE * (1 - line.explained)):
        return line
    return best


def near_their_mean(outputs: Floats, targets: Floats, weights: Floats) -> float | None:
    """The part of the targets' variance that outputs have; None where it is not small, or they are not near the mean.

    Args:
        outputs: (n, 1) z.
        targets: (n, 1) y.
        weights: (n,) of each example, adding up to 1.
    """
    if outputs.shape[1] != 1 or not np.isfinite(outputs).all():
        return None
    z, y = outputs[:, 0], targets[:, 0]
    between, spread = float(weights @ z - weights @ y), float(weights @ (y - weights @ y) ** 2)
    own = float(weights @ (z - weights @ z) ** 2)
    return own / spread if max(own, between**2) < FLAT * spread else None


def _line(outputs: Floats, targets: Floats, weights: Floats) -> OtherScale | None:
    """The line that gives the outputs of one target; None where it explains little of them."""
    if outputs.shape[1] != 1 or len(outputs) < LEAST:
        return None
    z, y = outputs[:, 0], targets[:, 0]
    apart_z, apart_y = z - weights @ z, y - weights @ y
    spread, whole = float(weights @ apart_y**2), float(weights @ apart_z**2)
    slope = float(weights @ (apart_z * apart_y)) / spread if spread > 0 else 0.0
    residual = float(weights @ (apart_z - slope * apart_y) ** 2)
    if not (slope > 0 and residual < (1 - CLEAR) * whole):
        return None
    offset = float(weights @ z - slope * (weights @ y))
    sign = "+" if offset >= 0 else "-"
    return OtherScale("on another scale", f"{slope:.4g} * y {sign} {abs(offset):.4g}", 1 - residual / whole)


def _scales(y: Floats) -> Iterator[tuple[str, str, Floats]]:
    """What training usually makes of targets (n, C): in words, as NumPy has it, and the values."""
    several = y.shape[1] > 1
    axis, each = ("(0)", ", each column for itself") if several else ("()", "")
    with np.errstate(all="ignore"):
        low, high = y.min(0), y.max(0)
        yield f"standardised{each}", f"(y - y.mean{axis}) / y.std{axis}", (y - y.mean(0)) / y.std(0)
        between = f"(y - y.min{axis}) / (y.max{axis} - y.min{axis})"
        yield f"brought to 0 to 1{each}", between, (y - low) / (high - low)
        yield f"brought to -1 to 1{each}", f"2 * {between} - 1", 2 * (y - low) / (high - low) - 1
        yield f"divided by the largest{each}", f"y / y.max{axis}", y / high
        yield f"without their mean{each}", f"y - y.mean{axis}", y - y.mean(0)
        yield f"divided by their deviation{each}", f"y / y.std{axis}", y / y.std(0)
        if several:
            yield "standardised together", "(y - y.mean()) / y.std()", (y - y.mean()) / y.std()
            together = (y - y.min()) / (y.max() - y.min())
            yield "brought to 0 to 1 together", "(y - y.min()) / (y.max() - y.min())", together
        for by in (10, 100, 255, 1000):
            yield f"divided by {by}", f"y / {by}", y / by
        logs = {"log": np.log(y), "log1p": np.log1p(y), "log10": np.log10(y), "sqrt": np.sqrt(y)}
        for name, values in logs.items():
            word = "square root" if name == "sqrt" else name
            yield f"as their {word}", f"numpy.{name}(y)", values
            standard = f"(numpy.{name}(y) - numpy.{name}(y).mean{axis}) / numpy.{name}(y).std{axis}"
            yield f"as their {word}, standardised{each}", standard, (values - values.mean(0)) / values.std(0)


def _explained(outputs: Floats, scaled: Floats, weights: Floats) -> float | None:
    """R² of the outputs as they are for these targets; None where that is not clear."""
    if not np.isfinite(scaled).all():
        return None
    gaps = ((outputs - scaled) ** 2).mean(1)
    constant = ((scaled - weights @ scaled) ** 2).mean(1)
    residual, whole = float(weights @ gaps), float(weights @ constant)
    clear = residual < (1 - CLEAR) * whole and apart(constant - gaps) > ERRORS
    return 1 - residual / whole if clear else None

"""Whether a pair's swing grows as curvature along its direction says it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import Kind, Matched
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from opsigcli.records import Floats

FEWEST = 3  # steps of growth
QUARTERS = 0.25, 0.5, 0.75  # of the growth, where curvature is measured: neither in noise nor at the peak


def growing(gap: Floats, peak: int) -> int:
    """Where the swing that is largest at ``peak`` began: it changes its sign every step from there on, and grows.

    Args:
        gap: (S,) difference of the two groups' mean loss deltas.
        peak: a step.
    """
    begin = peak
    while begin and gap[begin - 1] * gap[begin] < 0 and abs(gap[begin - 1]) < abs(gap[begin]):
        begin -= 1
    return begin


def _growth(pair: Matched) -> Evidence | None:
    material = pair.material
    predict, deltas = material.candidates.growth, material.deltas
    if predict is None or deltas is None or not material.findable:
        return None
    first, second = (deltas[:, rows].astype(np.float64).mean(axis=1) for rows in pair.pair.sides)
    gap = first - second
    peak, _ = material.strongest(pair.pair.sides)
    begin = growing(gap, peak)
    if peak - begin < FEWEST:
        return None
    rows = sorted({begin + round(part * (peak - 1 - begin)) for part in QUARTERS})
    predicted = predict(pair.pair.members, rows)
    if predicted is None:
        return None
    factors = np.abs(gap[begin + 1 : peak + 1] / gap[begin:peak])
    return Evidence(float(np.median(factors)), float(np.median(predicted)))


GROWTH = Kind.number(
    "growth",
    "factor by which the difference of the two groups' mean loss deltas grows from step to step, median over the steps "
    f"up to the pair's strongest one in which it changes its sign every step and grows, at least {FEWEST} (null: "
    "|1 - lr u'Hu| along the pair's direction, what gradient descent predicts, median over the checkpoints at a "
    "quarter, half and three quarters of these; in runs with a finding).",
    _growth,
)

"""What the two groups do in the loss trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import (
    HELD_OUT,
    NULL,
    Kind,
    Matched,
    against_null,
    beside_null,
)
from opsigcli.mining.trace_stats import first_step

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Evidence,
    )
    from opsigcli.records import Floats


SWAYED = "no p: a few members among them make random groups swing as well"


def _shares(pair: Matched) -> Floats | None:
    """Share of the energy that each pair holds, (R + 1,); None in a quiet trace."""
    energy = pair.material.energy
    if not energy.any():
        return None
    (first, second), (a, b) = pair.averages, map(len, pair.pair.sides)
    return np.asarray(first @ energy * a + second @ energy * b)


def _share(pair: Matched) -> Evidence | None:
    shares = _shares(pair)
    return None if shares is None else against_null(shares, tail="high")


def _share_ratio(pair: Matched) -> Evidence | None:
    shares = _shares(pair)
    return (
        None if shares is None else against_null(shares / (pair.size / pair.material.examples), tail="high")
    )


def _anti_phase(pair: Matched) -> Evidence | None:
    steps = pair.material.held_out()
    if len(steps) < HELD_OUT:
        return None
    series = pair.material.high_passed[steps].T
    found = correlations(pair.averages[0] @ series, pair.averages[1] @ series)
    return beside_null(found) if np.isfinite(found).all() else None


def _gaps(pair: Matched) -> Floats:
    """Difference of the groups' mean high-passed loss deltas after the first 10 %, of each pair, (R + 1, T')."""
    series = pair.material.high_passed
    series = series[first_step(len(series)) :]
    series = series[np.isfinite(series).all(axis=1)]
    return np.asarray((pair.averages[0] - pair.averages[1]) @ series.T)


def _alternation(pair: Matched) -> Evidence | None:
    gaps = _gaps(pair)
    if gaps.shape[1] < HELD_OUT:
        return None
    found = correlations(gaps[:, :-1], gaps[:, 1:])
    return beside_null(found) if np.isfinite(found).all() else None


def _amplitude(pair: Matched) -> Evidence | None:
    gaps = _gaps(pair)
    return against_null(np.sqrt(np.square(gaps).mean(axis=1)), tail="high") if gaps.shape[1] else None


def correlations(first: Floats, second: Floats) -> Floats:
    """Correlation of each row of ``first`` with the same row of ``second``, (R,); NaN for a constant row."""
    a = first - first.mean(axis=1, keepdims=True)
    b = second - second.mean(axis=1, keepdims=True)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    inner = (a * b).sum(axis=1)
    correlation: Floats = np.divide(inner, size, out=np.full_like(inner, np.nan), where=size > 0)
    return correlation


SHARE_OF_LOSS_CHANGE = Kind.number(
    "share_of_loss_change",
    "the pair's share of the energy of high-passed loss deltas of all examples, after "
    f"the first 10 % of the steps ({NULL}, mean; p: share of them at least as large).",
    _share,
    needs_gradients=False,
)
SHARE_RATIO = Kind.number(
    "share_ratio",
    "share_of_loss_change over the pair's fraction of the data "
    f"({NULL}, mean; p: share of them at least as large).",
    _share_ratio,
    needs_gradients=False,
)
# A pair that the losses themselves proposed swings by selection: no step is held out from it.
ANTI_PHASE = Kind.number(
    "anti_phase",
    "correlation of the two groups' mean high-passed loss deltas over steps that no compared "
    f"checkpoint touches, after the first 10 % ({NULL}, mean; {SWAYED}).",
    _anti_phase,
)
ALTERNATION = Kind.number(
    "alternation",
    "correlation of the difference of the two groups' mean high-passed loss deltas with the same one step later, "
    f"after the first 10 %: near -1 where the groups swing every step ({NULL}, mean; {SWAYED}).",
    _alternation,
    needs_gradients=False,
)
AMPLITUDE = Kind.number(
    "amplitude",
    f"root mean square of that difference ({NULL}, mean; p: share of them at least as large).",
    _amplitude,
    needs_gradients=False,
)

"""Which stretch of a run is looked at first: where its curves move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

STILL = 0.01  # of all movement may lie before the window, and as much after it
WORTH = 0.8  # of the run: a window that is hardly shorter is not worth one
AIR = 0.04  # of the window, on either side


def busy(steps: Ints, curves: Iterable[Floats], kept: Sequence[int] = ()) -> tuple[int, int]:
    """The steps between which the curves move, all of them where that is most of the run.

    The movement of a step is Σ |Δ| over the curves, each divided by its own sum, without what a smooth course of the
    run explains: of two changes one after the other that part which turns back.

    Args:
        steps: (T,) increasing.
        curves: (T,) each; changes that are no number count as none.
        kept: steps that the window holds whatever happens there.

    Returns:
        First and last step of the window; both are checkpoints.
    """
    first, last = int(steps[0]), int(steps[-1])
    moved = np.zeros(max(len(steps) - 2, 0))
    for curve in curves:
        change = np.nan_to_num(np.diff(np.asarray(curve, dtype=np.float64)), posinf=0, neginf=0)
        turned = np.minimum(np.abs(change[1:]), np.abs(change[:-1])) * (change[1:] * change[:-1] < 0)
        if len(turned) and turned.sum() > 0:
            moved += turned / turned.sum()
    if not moved.sum() > 0:
        return first, last
    so_far = np.cumsum(moved) / moved.sum()
    begin = int(steps[int(np.searchsorted(so_far, STILL))])
    end = int(steps[min(int(np.searchsorted(so_far, 1 - STILL)) + 2, len(steps) - 1)])
    begin, end = min([begin, *kept]), max([end, *kept])
    air = AIR * (end - begin)
    inside = np.flatnonzero((steps >= begin - air) & (steps <= end + air))
    begin, end = int(steps[inside[0]]), int(steps[inside[-1]])
    return (begin, end) if end - begin < WORTH * (last - first) and len(inside) > 3 else (first, last)

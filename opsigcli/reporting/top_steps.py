"""The steps whose top loss deltas a report shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.mining_records import Mining, TopDeltas


def strongest_top(mining: Mining, limit: int) -> list[TopDeltas]:
    """The steps with the largest top loss deltas (sum of their sizes), at most ``limit``, in order of step.

    A step close to a stronger one (within a twentieth of the series) is passed over: it shows the same examples. Where
    nearly all losses fall, the largest deltas are of losses that fell least: those did not go up, and are left out.
    """

    def size(top: TopDeltas) -> float:
        deltas = np.concatenate([top.up_deltas, top.down_deltas])
        return float(np.abs(deltas[np.isfinite(deltas)]).sum())

    chosen: list[int] = []
    for row in sorted(range(len(mining.top)), key=lambda row: -size(mining.top[row])):
        if len(chosen) < limit and all(abs(row - other) > len(mining.top) // 20 for other in chosen):
            chosen.append(row)
    found = (_moved(mining.top[row]) for row in sorted(chosen))
    return [top for top in found if len(top.up_ids) or len(top.down_ids)]


def _moved(top: TopDeltas) -> TopDeltas:
    """The examples whose loss went up, and those whose loss went down."""
    up, down = top.up_deltas > 0, top.down_deltas < 0
    return replace(
        top,
        up_ids=top.up_ids[up],
        up_deltas=top.up_deltas[up],
        down_ids=top.down_ids[down],
        down_deltas=top.down_deltas[down],
    )

"""What the charts of a case share: its steps, its curves, its spikes, and which checkpoints a table lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.scales import Scale
from opsigcli.reporting.summary import group_curves
from opsigcli.reporting.window import busy
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Spike,
    )
    from opsigcli.records import Case, Floats, Ints
    from opsigcli.reporting.svg import Chart

TABLE_ROWS = 400  # checkpoints that the table of a chart lists
FEW_PAIRS, FEWER_ROWS = 4, 200  # with more pairs than that the tables of their charts list so many
MARKED_SPIKES = 6  # the largest ones get a line and a number


class Sheet:
    """A case on one axis of steps; its losses are read once."""

    def __init__(self, case: Case) -> None:
        trace = case.trace
        self.case, self.trace, self.points = case, trace, case.sharpness
        self.spikes = case.spikes
        self.pairs = case.mining.pairs if case.mining else ()
        mean = trace.mean_loss
        self.mean = mean.values
        self.whose = mean.words  # the mean's examples, where they are not all
        self.everybody = f"{mean.over:,} of {mean.total:,} examples" if mean.words else "all examples"
        curves = group_curves(trace, [group for pair in self.pairs for group in pair.groups.values()])
        self.groups = list(zip(curves[::2], curves[1::2], strict=True))  # of each pair: first, second
        steps = [int(trace.steps[0]), int(trace.steps[-1]), *(point.step for point in self.points)]
        self.x = Scale(min(steps), max(steps))
        unlike = contradicted(self.points)
        crossed = [p.step for p in self.points if (p.ratio or 0) >= 1 and p.step not in unlike][:1]
        kept = [step for spike in self.spikes for step in (spike.step, spike.next_step)] + crossed
        self.window = busy(trace.steps, [self.mean, *curves], kept)

    def largest_spikes(self) -> list[Spike]:
        """The spikes that get a line and a number, largest first."""
        return sorted(self.spikes, key=lambda spike: -spike.rise)[:MARKED_SPIKES]

    def mark_spikes(self, chart: Chart) -> None:
        """A tick for every spike and a line for the largest ones."""
        for spike in self.spikes:
            chart.upright(spike.next_step, "limit", short=True, series="spikes")
        for spike in self.largest_spikes():
            chart.upright(spike.next_step, "limit", series="spikes")

    @property
    def crowded(self) -> bool:
        """Whether there are so many pairs that each of them is drawn and listed more coarsely."""
        return len(self.pairs) > FEW_PAIRS

    def listed(self, most: int = TABLE_ROWS) -> list[int]:
        """Rows of the trace that a table lists: all, or evenly spread ones and those at the largest spikes."""
        total = len(self.trace.steps)
        if total <= most:
            return list(range(total))
        at = {step: i for i, step in enumerate(self.trace.steps.tolist())}
        rows = set(np.linspace(0, total - 1, most).astype(int).tolist())
        rows |= {
            at[step]
            for spike in self.largest_spikes()
            for step in (spike.step, spike.next_step)
            if step in at
        }
        return sorted(rows)

    def listed_words(self, listed: Sequence[int]) -> str:
        """Which checkpoints those are."""
        total = len(self.trace.steps)
        if len(listed) == total:
            return "every checkpoint"
        return f"{len(listed):,} of {total:,} checkpoints, evenly spread, and the largest spikes"


def mark_gaps(chart: Chart, steps: Ints, values: Floats) -> None:
    """A hollow mark on the axis for every checkpoint without a finite mean; at most one per two pixels or so."""
    bad = steps[~np.isfinite(values)]
    if len(bad) == 0:
        return
    every = bad[np.unique(np.linspace(0, len(bad) - 1, min(len(bad), 200)).astype(int))]
    chart.points(every.tolist(), [chart.y.low] * len(every), "muted", "diamond", [True] * len(every))

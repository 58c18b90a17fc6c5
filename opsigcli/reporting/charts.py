"""The charts of a case: all over the same steps, each with its legend and the table of what it draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.records import REST
from opsigcli.reporting.format import count, number, percent, range_words, signed
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.sharpness_charts import sharpness_charts
from opsigcli.reporting.summary import delta_row, group_curves
from opsigcli.reporting.svg import Chart, Figure, Key, swatch

if TYPE_CHECKING:
    from opsigcli.records import Case, Floats, GroupKey, Ints, Spike

TABLE_ROWS = 400  # checkpoints that the table of a chart lists
CLOSE_UP = 16  # checkpoints shown on each side of a pair's strongest step
LABEL_ROOM = 0.15  # of the width, between the numbers of two spikes
MARKED_SPIKES = 6  # the largest ones get a line and a number


class Charts:
    """The charts of one case, all over the same steps; means are taken once."""

    def __init__(self, case: Case) -> None:
        trace = case.trace
        self.trace, self.points = trace, case.sharpness
        self.spikes = case.mining.spikes if case.mining else ()
        self.pairs = case.mining.pairs if case.mining else ()
        self.mean = trace.mean_losses
        self.whose = trace.mean_loss.words
        curves = group_curves(trace, [group for pair in self.pairs for group in pair.groups.values()])
        self.groups = list(zip(curves[::2], curves[1::2], strict=True))
        steps = [int(trace.steps[0]), int(trace.steps[-1]), *(point.step for point in self.points)]
        self.x = Scale(min(steps), max(steps))

    def stack(self) -> list[Figure]:
        """Every chart on the shared step axis, from top to bottom."""
        pairs = (self.pair(i) for i in range(1, len(self.pairs) + 1))
        return [self.loss(), *pairs, *sharpness_charts(self.points, self.x, self._spike_lines)]

    def loss(self) -> Figure:
        """Mean loss at every checkpoint, with the spikes."""
        trace, mean = self.trace, self.mean
        y = value_scale(mean, allow_log=True)
        chart = Chart(self.x, y, 210)
        self._spike_lines(chart)
        chart.curve(trace.steps, mean, "ink", width=1.8)
        _gaps(chart, trace.steps, mean)
        at = dict(zip(trace.steps.tolist(), mean.tolist(), strict=True))
        tops = [at.get(spike.next_step, math.nan) for spike in self.spikes]
        chart.points([spike.next_step for spike in self.spikes], tops, "limit", "diamond")
        labelled: list[float] = []
        for spike in self._largest():
            height, place = at.get(spike.next_step, math.nan), self.x(spike.next_step)
            if math.isfinite(height) and all(abs(place - other) > LABEL_ROOM for other in labelled):
                labelled.append(place)
                anchor = "end" if place > 0.9 else "start"
                above = max(chart.down(height) - 9, 10)
                chart.text(
                    chart.across(spike.next_step), above, signed(spike.rise), anchor=anchor, role="limit"
                )
        legend = [Key(swatch("ink"), f"mean loss, nats{f', {self.whose}' if self.whose else ''}", 1)]
        if self.spikes:
            glyph = swatch("limit", shape="diamond", line=False)
            legend.append(Key(glyph, f"{count(len(self.spikes), 'spike')} (rise in nats)"))
        rises = {spike.next_step: spike.rise for spike in self.spikes}
        listed = self._listed()
        rows = tuple(
            (f"{int(trace.steps[i]):,}", number(mean[i], 4), signed(rises.get(int(trace.steps[i]))))
            for i in listed
        )
        description = range_words("Mean loss in nats", trace.steps, mean)
        return Figure(
            "loss",
            "Mean loss",
            chart.svg(
                "loss", "Mean loss over steps", f"{description} {count(len(self.spikes), 'spike')} marked."
            ),
            tuple(legend),
            ("step", "mean loss", "spike"),
            rows,
            self._listed_words(listed),
            log=y.log,
        )

    def pair(self, index: int) -> Figure:
        """Mean losses of the two groups of pair ``index`` (from 1), beside the mean loss."""
        return self._groups(
            index, range(len(self.trace.steps)), f"groups{index}", f"Pair {index}, mean losses"
        )

    def close_up(self, index: int) -> Figure | None:
        """The same around the pair's strongest step, every checkpoint marked: do they move in anti-phase?"""
        steps, row = self.trace.steps, delta_row(self.trace, self.pairs[index - 1].strongest_step)
        if row is None or len(steps) < 4:
            return None
        rows = range(max(0, row - CLOSE_UP), min(len(steps), row + 2 + CLOSE_UP))
        title = f"Around the strongest step: {int(steps[row]):,} to {int(steps[row + 1]):,}"
        return self._groups(index, rows, f"close{index}", title, strongest=row)

    def _groups(self, index: int, rows: range, key: str, title: str, strongest: int | None = None) -> Figure:
        pair, part = self.pairs[index - 1], slice(rows.start, rows.stop)
        steps, mean = self.trace.steps[part], self.mean[part]
        first, second = (curve[part] for curve in self.groups[index - 1])
        y = value_scale(np.concatenate([first, second, mean]), allow_log=True)
        if strongest is None:
            chart = Chart(self.x, y, 140)
            self._spike_lines(chart)
        else:
            chart = Chart(Scale(int(steps[0]), int(steps[-1])), y, 150)
            chart.upright(int(self.trace.steps[strongest]), "muted")
            chart.upright(int(self.trace.steps[strongest + 1]), "muted")
        dense = len(rows) > 100  # thin and translucent: both stay visible where they cross at every step
        width, opacity = (1.1, 0.75) if dense else (1.6, 1)
        chart.curve(steps, mean, "muted", dash="dot")
        chart.curve(steps, first, "first", width=width, opacity=opacity)
        chart.curve(steps, second, "second", dash="dash", width=width, opacity=opacity)
        if strongest is not None:
            chart.points(steps.tolist(), second.tolist(), "second", "down")
            chart.points(steps.tolist(), first.tolist(), "first", "up")
        _gaps(chart, steps, first + second)
        listed = self._listed() if strongest is None else list(rows)
        table = tuple(
            (
                f"{int(self.trace.steps[i]):,}",
                *(number(curve[i - rows.start], 4) for curve in (first, second, mean)),
            )
            for i in listed
        )
        sizes = (len(pair.first.ids), len(pair.second.ids))
        description = (
            f"Mean losses of the first group ({sizes[0]} examples, solid) and the second group ({sizes[1]}, dashed) of "
            f"pair {index}, in nats, steps {int(steps[0])} to {int(steps[-1])}, with the mean loss of all examples "
            "(dotted)."
        )
        return Figure(
            key,
            title,
            chart.svg(key, f"Pair {index}: mean losses of its two groups", description),
            (
                Key(swatch("first", shape="up"), f"first group ({sizes[0]:,})", 1),
                Key(swatch("second", dash="dash", shape="down"), f"second group ({sizes[1]:,})", 2),
                Key(
                    swatch("muted", dash="dot"),
                    f"all examples{f' (mean {self.whose})' if self.whose else ''}",
                    3,
                ),
            ),
            ("step", "first group", "second group", "all examples"),
            table,
            self._listed_words(listed) if strongest is None else "",
            log=y.log,
        )

    def _largest(self) -> list[Spike]:
        return sorted(self.spikes, key=lambda spike: -spike.rise)[:MARKED_SPIKES]

    def _spike_lines(self, chart: Chart) -> None:
        for spike in self.spikes:
            chart.upright(spike.next_step, "limit", short=True)
        for spike in self._largest():
            chart.upright(spike.next_step, "limit")

    def _listed(self) -> list[int]:
        """Rows of the trace that a table lists: all, or evenly spread ones and those at the largest spikes."""
        total = len(self.trace.steps)
        if total <= TABLE_ROWS:
            return list(range(total))
        at = {step: i for i, step in enumerate(self.trace.steps.tolist())}
        rows = set(np.linspace(0, total - 1, TABLE_ROWS).astype(int).tolist())
        rows |= {
            at[step] for spike in self._largest() for step in (spike.step, spike.next_step) if step in at
        }
        return sorted(rows)

    def _listed_words(self, listed: Sequence[int]) -> str:
        total = len(self.trace.steps)
        if len(listed) == total:
            return "every checkpoint"
        return f"{len(listed):,} of {total:,} checkpoints, evenly spread, and the largest spikes"


def _gaps(chart: Chart, steps: Ints, values: Floats) -> None:
    """A hollow mark on the axis for every checkpoint without a finite mean; at most one per two pixels or so."""
    bad = steps[~np.isfinite(values)]
    if len(bad) == 0:
        return
    every = bad[np.unique(np.linspace(0, len(bad) - 1, min(len(bad), 200)).astype(int))]
    chart.points(every.tolist(), [chart.y.low] * len(every), "muted", "diamond", [True] * len(every))


@dataclass(frozen=True)
class Part:
    """A group's part of a spike's rise."""

    group: GroupKey
    share: float
    role: str  # colour
    words: str


def attribution(spike: Spike, fractions: Mapping[GroupKey, float]) -> list[Part]:
    """A spike's rise by group, with each group's fraction of the data."""
    parts = []
    for key, share in spike.share_of_rise.items():
        words = percent(share) + (f" (of the data {percent(fractions[key])})" if key in fractions else "")
        parts.append(Part(key, share, "muted" if key == REST else key.side, words))
    return parts

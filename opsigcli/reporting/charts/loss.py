"""The mean loss over the steps, with its spikes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opsigcli.printable import count
from opsigcli.reporting.charts.sheet import mark_gaps
from opsigcli.reporting.format import number, range_words, signed
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.scales import value_scale
from opsigcli.reporting.svg import Chart, Figure, Key

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet

LABEL_ROOM = 0.15  # of the width, between the numbers of two spikes
BESIDE = 8  # pixels from the line of a spike to its number


def loss_chart(sheet: Sheet) -> list[Figure]:
    """Mean loss at every checkpoint, with the spikes."""
    steps, mean = sheet.trace.steps, sheet.mean
    y = value_scale(mean, allow_log=True)
    chart = Chart(sheet.x, y, 210)
    sheet.mark_spikes(chart)
    with chart.series("mean"):
        chart.curve(steps, mean, "ink", width=1.8)
    mark_gaps(chart, steps, mean)
    at = dict(zip(steps.tolist(), mean.tolist(), strict=True))
    tops = [at.get(spike.next_step, math.nan) for spike in sheet.spikes]
    with chart.series("spikes"):
        chart.points([spike.next_step for spike in sheet.spikes], tops, "limit", "diamond")
        _label_spikes(chart, sheet, at)
    legend = [
        Key(
            swatch("ink"),
            f"mean loss{sheet.trace.unit.heading}" + (f", {sheet.whose}" if sheet.whose else ""),
            1,
            "mean",
        )
    ]
    if sheet.spikes:
        glyph = swatch("limit", shape="diamond", line=False)
        legend.append(
            Key(glyph, f"{count(len(sheet.spikes), 'spike')} (rise{sheet.trace.unit.within})", None, "spikes")
        )
    rises = {spike.next_step: spike.rise for spike in sheet.spikes}
    listed = sheet.listed()
    rows = tuple((f"{int(steps[i]):,}", number(mean[i], 4), signed(rises.get(int(steps[i])))) for i in listed)
    words = range_words(f"Mean loss{sheet.trace.unit.within}", steps, mean, sheet.trace.axis)
    description = f"{words} {count(len(sheet.spikes), 'spike')} marked."
    return [
        Figure(
            "loss",
            "Mean loss",
            chart.svg("loss", f"Mean loss over {sheet.trace.axis.many}", description),
            tuple(legend),
            (sheet.trace.axis.one, "mean loss", "spike"),
            rows,
            sheet.listed_words(listed),
            log=y.log,
        )
    ]


def _label_spikes(chart: Chart, sheet: Sheet, at: Mapping[int, float]) -> None:
    """The rises of the largest spikes, as far as there is room between them."""
    labelled: list[float] = []
    for spike in sheet.largest_spikes():
        height, place = at.get(spike.next_step, math.nan), sheet.x(spike.next_step)
        if math.isfinite(height) and all(abs(place - other) > LABEL_ROOM for other in labelled):
            labelled.append(place)
            anchor, aside = ("end", -BESIDE) if place > 0.9 else ("start", BESIDE)
            across, below = chart.across(spike.next_step), max(chart.down(height), 19)
            chart.text(across, below, signed(spike.rise), anchor=anchor, role="limit", shift=aside, rise=9)

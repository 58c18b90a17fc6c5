"""The mean losses of a pair's two groups: along the run, and around the pair's strongest change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.charts.sheet import FEWER_ROWS, TABLE_ROWS, mark_gaps
from opsigcli.reporting.format import number
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.summary import delta_row
from opsigcli.reporting.svg import DENSE, Chart, Figure, Key, swings

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet

BINS = (500, 200)  # of the curves of few pairs, and of more
CLOSE_UP = 16  # checkpoints shown on each side of a pair's strongest change


def group_charts(sheet: Sheet) -> list[Figure]:
    """Mean losses of the two groups of each pair, beside the mean loss."""
    rows = range(len(sheet.trace.steps))
    return [
        _figure(sheet, index, rows, f"groups{index}", f"Pair {index}, mean losses")
        for index in range(1, len(sheet.pairs) + 1)
    ]


def close_ups(sheet: Sheet) -> list[Figure]:
    """The same around each pair's strongest change, every checkpoint marked: do they move in anti-phase?"""
    steps, found = sheet.trace.steps, []
    for index, pair in enumerate(sheet.pairs, start=1):
        row = delta_row(sheet.trace, pair.strongest_step)
        if row is None or len(steps) < 4:
            continue
        rows = range(max(0, row - CLOSE_UP), min(len(steps), row + 2 + CLOSE_UP))
        title = (
            f"Around the strongest change, {sheet.trace.axis.between(int(steps[row]), int(steps[row + 1]))}"
        )
        found.append(_figure(sheet, index, rows, f"close{index}", title, strongest=row))
    return found


def _figure(
    sheet: Sheet, index: int, rows: range, key: str, title: str, strongest: int | None = None
) -> Figure:
    pair, part = sheet.pairs[index - 1], slice(rows.start, rows.stop)
    steps, mean = sheet.trace.steps[part], sheet.mean[part]
    first, second = (curve[part] for curve in sheet.groups[index - 1])
    y = value_scale(np.concatenate([first, second, mean]), allow_log=True)
    if strongest is None:
        chart = Chart(sheet.x, y, 140)
        sheet.mark_spikes(chart)
    else:
        chart = Chart(Scale(int(steps[0]), int(steps[-1])), y, 150)
        chart.upright(int(sheet.trace.steps[strongest]), "muted")
        chart.upright(int(sheet.trace.steps[strongest + 1]), "muted")
    zoom = "both" if strongest is None else ""
    bins = BINS[sheet.crowded]
    dense = len(rows) > DENSE  # thin and translucent: both stay visible where they cross at every step
    width, opacity = (1.1, 0.75) if dense else (1.6, 1)
    with chart.series("all"):
        chart.curve(steps, mean, "muted", dash="dot", bins=BINS[1])
    for curve, side, dash, shape in ((second, "second", "dash", "down"), (first, "first", "", "up")):
        with chart.series(side):
            chart.curve(steps, curve, side, dash=dash, width=width, opacity=opacity, bins=bins)
            if strongest is not None:
                chart.points(steps.tolist(), curve.tolist(), side, shape)
    mark_gaps(chart, steps, first + second)
    most = FEWER_ROWS if sheet.crowded else TABLE_ROWS
    listed = sheet.listed(most) if strongest is None else list(rows)
    table = tuple(
        (
            f"{int(sheet.trace.steps[i]):,}",
            *(number(curve[i - rows.start], 4) for curve in (first, second, mean)),
        )
        for i in listed
    )
    sizes = (len(pair.first.ids), len(pair.second.ids))
    description = (
        f"Mean losses of the first group ({sizes[0]} examples, solid) and the second group ({sizes[1]}, dashed) of "
        f"pair {index}{sheet.trace.unit.within}, {sheet.trace.axis.span(int(steps[0]), int(steps[-1]))}, with the "
        f"mean loss of {sheet.everybody} (dotted)."
    )
    if strongest is None and (swings(first) or swings(second)):
        description += " Where it swings at every checkpoint, even ones are a line, odd ones a fine one."
    return Figure(
        key,
        title,
        chart.svg(key, f"Pair {index}: mean losses of its two groups", description, zoom=zoom),
        (
            Key(swatch("first", shape="up"), f"first group ({sizes[0]:,})", 1, "first"),
            Key(swatch("second", dash="dash", shape="down"), f"second group ({sizes[1]:,})", 2, "second"),
            Key(swatch("muted", dash="dot"), sheet.everybody, 3, "all"),
        ),
        (sheet.trace.axis.one, "first group", "second group", sheet.everybody),
        table,
        sheet.listed_words(listed) if strongest is None else "",
        log=y.log,
        pair=None if strongest is None else index,
        section="groups" if strongest is None else "",
    )

"""The charts of the sharpness over the steps, against the stability threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.printable import count
from opsigcli.reporting.format import number, range_words
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.scales import apart, value_scale
from opsigcli.reporting.summary import (
    held_against,
    ratio_of,
    residual,
    sharpness_title,
    sharpness_values,
    unlike_lines,
)
from opsigcli.reporting.svg import Chart, Figure, Key
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet


def sharpness_charts(sheet: Sheet) -> list[Figure]:
    """Sharpness against the stability threshold; with a preconditioner, what is compared with it comes first."""
    points = sheet.points
    if not points:
        return []
    figure = partial(_figure, sheet)
    limits = [held_against(p) for p in points]
    plain = [p.eigenvalues[0] if p.eigenvalues else math.nan for p in points]
    if all(p.preconditioned is None for p in points):
        figures = [figure("sharpness", "Sharpness", plain, limits)]
    else:
        figures = [
            figure("preconditioned", sharpness_title(points), sharpness_values(points), limits),
            figure("sharpness", "Sharpness", plain, [math.nan] * len(plain)),
        ]
    ratios = [math.nan if p.ratio is None else p.ratio for p in points]
    if len({limit for limit in limits if math.isfinite(limit)}) > 1:  # one axis in its units will not do
        figures.append(figure("ratio", "Stability ratio", ratios, [1.0] * len(ratios)))
    return figures


def _figure(
    sheet: Sheet,
    key: str,
    title: str,
    values: Sequence[float],
    limits: Sequence[float],
) -> Figure:
    points = sheet.points
    known = sorted({limit for limit in limits if math.isfinite(limit)})
    constant = known[0] if len(known) == 1 else None
    y = value_scale([*values, *known], allow_log=True)
    axis = constant if constant and constant != 1 and not y.log else None
    chart = Chart(sheet.x, y, 210, right_ticks=axis)
    sheet.mark_spikes(chart)
    steps = np.array([p.step for p in points])
    with chart.series("threshold"):
        if constant is not None:
            chart.level(constant, "limit")
        elif known:
            chart.curve(steps, np.array(limits), "limit", dash="dash")
    hollow = [not point.converged for point in points]
    unlike, marks = contradicted(points), unlike_lines(points)
    with chart.series("sharpness"):
        chart.curve(*apart(steps, np.array(values)), "sharp", width=1)
        chart.points([p.step for p in points], values, "sharp", "disc", hollow)
    legend = [Key(swatch("sharp", shape="disc"), title[:1].lower() + title[1:], 1, "sharpness")]
    if known:
        legend.append(Key(swatch("limit", dash="dash"), "stability threshold", 3, "threshold"))
        legend.append(Key("", "stability ratio (right axis)" if axis else "stability ratio", 4))
        legend += [Key("", line) for line in marks]
    if any(hollow):
        glyph = swatch("sharp", shape="disc", hollow=True, line=False)
        legend.append(Key(glyph, f"not converged ({sum(hollow)} of {len(points)})"))
    rows = tuple(
        (
            f"{point.step:,}",
            number(value, 4),
            "yes" if point.converged else "no",
            number(limit, 4),
            ratio_of(point, unlike) if known else number(None),
            number(residual(point), 2),
            f"{point.matvecs:,}",
        )
        for point, value, limit in zip(points, values, limits, strict=True)
    )
    against = [p for p in points if p.converged and p.ratio is not None and p.step not in unlike]
    over = sum(1 for p in against if p.ratio is not None and p.ratio >= 1)
    description = (
        range_words(title, steps, np.array(values), sheet.trace.axis)
        + (
            f" {over} of {count(len(points), 'point is', 'points are')} at or above the stability threshold."
            if known and against
            else ""
        )
        + "".join(f" {line}." for line in marks if known)
        + (f" {sum(hollow)} points did not converge." if any(hollow) else "")
    )
    return Figure(
        key,
        title,
        chart.svg(key, f"{title} over {sheet.trace.axis.many}", description),
        tuple(legend),
        (sheet.trace.axis.one, title.lower(), "converged", "threshold", "ratio", "residual", "matvecs"),
        rows,
        "every measured checkpoint",
        log=y.log,
    )

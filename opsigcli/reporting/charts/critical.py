"""The chart of the critical sharpness over the steps, as a ratio to its threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.format import NOTHING, number, range_words
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.scales import apart, value_scale
from opsigcli.reporting.sharpness_lines import of_subset
from opsigcli.reporting.svg import Chart, Figure, Key

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet

TITLE = "Critical sharpness \u00f7 threshold"


def critical_charts(sheet: Sheet) -> list[Figure]:
    """The ratio at every checkpoint that has one; 1 is the edge, whatever the update consists of."""
    points = sheet.case.critical
    if all(point.ratio is None for point in points):
        return []
    values = [math.nan if point.ratio is None else point.ratio for point in points]
    y = value_scale([*values, 1.0], allow_log=True)
    chart = Chart(sheet.x, y, 210)
    sheet.mark_spikes(chart)
    steps = np.array([point.step for point in points])
    chart.level(1.0, "limit")
    chart.curve(*apart(steps, np.array(values)), "sharp", width=1)
    chart.points(steps.tolist(), values, "sharp", "disc", [False] * len(points))
    legend = (
        Key(swatch("sharp", shape="disc"), "along the run's update; not an eigenvalue", 1),
        Key(swatch("limit", dash="dash"), "the edge", 2),
        *(Key("", line) for line in of_subset(sheet.case)),
    )
    rows = tuple(
        (
            f"{point.step:,}",
            number(point.ratio),
            number(point.critical_sharpness, 4),
            number(point.threshold, 4),
            NOTHING if point.error is None else f"{point.error:.1%}",
            point.direction,
            f"{point.forward_passes:,}",
        )
        for point in points
    )
    over = sum(1 for value in values if value >= 1)
    description = (
        range_words(TITLE, steps, np.array(values), sheet.trace.axis)
        + f" {over} of {len(points)} are at 1 or above."
    )
    return [
        Figure(
            "critical",
            TITLE,
            chart.svg("critical", f"{TITLE} over {sheet.trace.axis.many}", description),
            legend,
            (
                sheet.trace.axis.one,
                "ratio",
                "critical sharpness",
                "threshold",
                "error",
                "along",
                "forward passes",
            ),
            rows,
            "every measured checkpoint",
            log=y.log,
        )
    ]

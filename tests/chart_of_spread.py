"""A chart that somebody adds: the spread of the losses over the steps."""

from __future__ import annotations

import numpy as np

from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.format import number, range_words
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.scales import value_scale
from opsigcli.reporting.svg import Chart, Figure, Key


def spread_chart(sheet: Sheet) -> list[Figure]:
    """Standard deviation of the losses over examples, at every checkpoint."""
    steps = sheet.trace.steps
    spread = np.array(
        [
            np.std(row, where=np.isfinite(row)) if np.isfinite(row).any() else np.nan
            for row in sheet.trace.losses
        ]
    )
    chart = Chart(sheet.x, value_scale(spread), 120)
    chart.curve(steps, spread, "ink")
    rows = tuple((f"{int(steps[i]):,}", number(spread[i])) for i in sheet.listed())
    words = range_words("Standard deviation of the losses", steps, spread)
    return [
        Figure(
            "spread",
            "Spread of the losses",
            chart.svg("spread", "Spread of the losses", words),
            (Key(swatch("ink"), "standard deviation, nats", 1),),
            ("step", "spread"),
            rows,
        )
    ]

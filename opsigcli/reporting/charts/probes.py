"""What the model answered to each probe, in the section of the pair whose losses move most with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.format import number
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.probes import ONE, class_names, moved_by, swinging, told
from opsigcli.reporting.svg import Chart, Figure, Key
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet

LOOKS = (("ink", ""), ("sharp", "dash"), ("limit", "dot"))


def probe_charts(sheet: Sheet) -> list[Figure]:
    """Class probabilities at every checkpoint, those that swing most."""
    case, steps, figures = sheet.case, sheet.trace.steps, []
    listed = sheet.listed()
    for index, traced in enumerate(case.probes, start=1):
        names, columns = class_names(case, traced), [int(c) for c in swinging(traced)]
        chart = Chart(sheet.x, ONE, 130)
        sheet.mark_spikes(chart)
        curves = [traced.probabilities[:, column].astype(np.float64) for column in columns]
        for curve, (role, dash) in zip(curves, LOOKS, strict=False):
            chart.curve(steps, curve, role, dash=dash, width=1.3)
        found, key = moved_by(case, traced), f"probe{index}"
        words = " ".join(told(case, traced))
        figures.append(
            Figure(
                key,
                f"Answer to {traced.probe.words}",
                chart.svg(key, f"Class probabilities for {traced.probe.words}", words),
                tuple(
                    Key(swatch(role, dash=dash), f"{names[c]}, {percent(float(np.nanmax(curve)))} at most", i)
                    for i, (c, curve, (role, dash)) in enumerate(
                        zip(columns, curves, LOOKS, strict=False), start=1
                    )
                    if np.isfinite(curve).any()
                ),
                (sheet.trace.axis.one, *(names[c] for c in columns)),
                tuple((f"{int(steps[i]):,}", *(number(curve[i]) for curve in curves)) for i in listed),
                words,
                pair=None if found is None else found.pair,
            )
        )
    return figures

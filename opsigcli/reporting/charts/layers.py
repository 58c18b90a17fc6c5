"""Where the curvature is along the run: the layers' parts of the top eigenvector at every step they were measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.printable import count, printable
from opsigcli.reporting.format import NOTHING, shorten
from opsigcli.reporting.glyphs import ROLES, ramp, units
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.svg import STRETCH, Chart, Figure, Key
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from opsigcli.records import Floats
    from opsigcli.reporting.charts.sheet import Sheet

LAYERS, ROW = 16, 20  # rows: the layers with the largest parts anywhere; pixels of one
FAINTEST, STEPS_OF_INK = 0.02, 20  # opacity of nothing; how many levels are told apart


def layer_maps(sheet: Sheet) -> list[Figure]:
    """A map, layer by step: the darker, the more of the top eigenvector lies in the layer."""
    points = [point for point in sheet.points if len(point.layers) > 1]
    if len(points) < 2:
        return []
    names = list(dict.fromkeys(layer.name for point in points for layer in point.layers))
    parts = np.full((len(names), len(points)), math.nan)
    for column, point in enumerate(points):
        for layer in point.layers:
            parts[names.index(layer.name), column] = layer.shares[0]
    largest = np.argsort(-np.nanmax(parts, axis=1), kind="stable")[:LAYERS]
    rows = np.sort(largest)  # in the model's order
    height = ROW * len(rows)
    chart = Chart(sheet.x, Scale(0, 1), height, values=False)
    steps = np.array([point.step for point in points], dtype=np.float64)
    chart.stretched(_cells(chart, steps, parts[rows]))
    for place, row in enumerate(rows):
        words = shorten(printable(names[row]), 40)
        chart.text("0%", ROW * place + 14, words, anchor="start", shift=5)
    left_out = len(names) - len(rows)
    title = "Layers along the run"
    description = (
        f"How much of the top eigenvector lies in each of {count(len(rows), 'layer')}, at the "
        f"{count(len(points), 'checkpoint')} where layers were measured; at the last one "
        + ", ".join(f"{printable(names[row])} {percent(parts[row, -1])}" for row in rows)
        + "."
    )
    legend = [
        Key(
            ramp("sharp", (0.2, 0.6, 1)),
            "part of the top eigenvector, from little to all",
        )
    ]
    if left_out:
        legend.append(Key("", f"{count(left_out, 'more layer')} with less are not drawn"))
    table = tuple(
        (f"{point.step:,}", *(NOTHING if math.isnan(part) else percent(part) for part in parts[rows, column]))
        for column, point in enumerate(points)
    )
    return [
        Figure(
            "layer-map",
            title,
            chart.svg("layer-map", title, description, zoom="steps"),
            tuple(legend),
            (sheet.trace.axis.one, *(printable(names[row]) for row in rows)),
            table,
            "every checkpoint with layers",
        )
    ]


def _cells(chart: Chart, steps: Floats, parts: Floats) -> str:
    """A rectangle for every layer and step, no wider than the usual distance; those of one darkness are one path."""
    half = float(np.median(np.diff(steps))) / 2
    borders = (steps[:-1] + steps[1:]) / 2
    left = np.maximum(steps - half, np.concatenate([[chart.x.low], borders]))
    right = np.minimum(steps + half, np.concatenate([borders, [chart.x.high]]))
    of_level: dict[int, list[str]] = {}
    for row, column in np.argwhere(np.isfinite(parts)).tolist():
        part = float(parts[row, column])
        at, to = (STRETCH * chart.x(float(side[column])) for side in (left, right))
        box = f"M{units(at)},{ROW * row + 1}H{units(max(to, at + 1))}V{ROW * row + ROW - 1}H{units(at)}Z"
        of_level.setdefault(round(STEPS_OF_INK * min(max(part, 0.0), 1.0)), []).append(box)
    return "".join(
        f'<path class="f-sharp" fill="{ROLES["sharp"]}" fill-opacity="{max(level / STEPS_OF_INK, FAINTEST):g}" '
        f'd="{"".join(of_level[level])}"/>'
        for level in sorted(of_level)
    )

"""The spectral density of the Hessian at the sharpest checkpoint at which it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.format import number
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.listings import sharpest_spectrum
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.svg import Chart, Figure, Key

if TYPE_CHECKING:
    from opsigcli.reporting.charts.sheet import Sheet

DECADES = 6  # below the largest density that are drawn


def spectrum_charts(sheet: Sheet) -> list[Figure]:
    """Density by eigenvalue, with where the bulk ends, the threshold and the eigenvalues that were found."""
    point = sharpest_spectrum(sheet.case)
    if point is None or point.spectrum is None:
        return []
    found = point.spectrum
    grid, density, errors = (np.array(part) for part in (found.grid, found.density, found.errors))
    most = float(np.nanmax(density)) if np.isfinite(density).any() else 0.0
    if not most > 0:
        return []
    floor = max(most * 10.0**-DECADES, float(np.min(density[density > 0])))
    marks = [value for value in point.eigenvalues if np.isfinite(value)]
    limit = point.threshold if point.preconditioned is None else None
    edges = [
        *grid.tolist(),
        *marks,
        *([limit] if limit is not None and limit < 3 * max(marks, default=0) else []),
    ]
    chart = Chart(Scale(min(edges), max(edges)), Scale(floor / 1.5, most * 1.5, log=True), 150, steps=False)
    with chart.series("density"):
        chart.curve(grid, np.where(density >= floor, density, np.nan), "sharp")
    with chart.series("eigenvalues"):
        chart.points(
            marks, [chart.y.low * 1.3] * len(marks), "sharp", "disc", [not point.converged] * len(marks)
        )
    chart.upright(found.bulk, "muted", dash="dash", series="bulk")
    legend = [
        Key(swatch("sharp"), "density per unit of eigenvalue", None, "density"),
        Key(swatch("sharp", shape="disc", line=False), "largest eigenvalues", None, "eigenvalues"),
        Key(swatch("muted", dash="dash"), f"the bulk ends at {number(found.bulk)}", None, "bulk"),
    ]
    if limit is not None and limit <= max(edges):
        chart.upright(limit, "limit", dash="dash", series="threshold")
        words = f"stability threshold {number(limit, 4)}"
        legend.append(Key(swatch("limit", dash="dash"), words, None, "threshold"))
    where = sheet.trace.axis.at(point.step)
    description = (
        f"Spectral density of the Hessian at {where}, from eigenvalue {number(float(grid[0]))} to "
        f"{number(float(grid[-1]))}, log scale; greatest at {number(float(grid[int(np.nanargmax(density))]))}. "
        f"{found.outliers} eigenvalues stand above the bulk, which ends at {number(found.bulk)}."
    )
    listed = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), 200)).astype(int))
    return [
        Figure(
            "density",
            f"Spectral density at {where}",
            chart.svg("density", f"Spectral density at {where}", description),
            tuple(legend),
            ("eigenvalue", "density", "standard error"),
            tuple((number(grid[i], 4), number(density[i]), number(errors[i], 2)) for i in listed),
            "the grid" if len(listed) == len(grid) else f"{len(listed)} of {len(grid)} points of the grid",
            log=True,
            section="spectrum",
        )
    ]

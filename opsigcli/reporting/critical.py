"""Critical sharpness along the run's updates, for the terminal: beside the sharpness, never in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from opsigcli.command_line import command
from opsigcli.printable import printable
from opsigcli.reporting.format import NOTHING, number
from opsigcli.reporting.sentences import capital
from opsigcli.reporting.sharpness_lines import of_subset
from opsigcli.reporting.tables import head, table_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.records import Case

SAID = (
    "Critical sharpness is 2/\u03b7c, with \u03b7c the learning rate at which the run's update would raise the loss: "
    "the mean curvature along the update, mostly below the sharpness, and no eigenvalue. A ratio of 1 is the edge."
)


def render_critical(case: Case, rows: int | None = None) -> list[RenderableType]:
    """A row for every value, or for so many of them, with the sharpness where it was measured too."""
    if not case.critical:
        return [
            Text(
                "Critical sharpness was not measured: run "
                f"{command('sharpness', store=case.store, options=('--quick',))}."
            )
        ]
    points = case.critical
    top = {point.step: point.eigenvalues[0] for point in case.sharpness if point.converged}
    columns = [
        (case.run.axis.one, "right"), ("critical sharpness", "right"), ("threshold", "right"), ("ratio", "right"),
        ("error", "right"), ("along", ""), ("passes", "right"),
    ]  # fmt: skip
    beside = any(point.step in top for point in points)
    table = table_of(*columns, *([("sharpness", "right")] if beside else []))
    listed = range(len(points))
    if rows is not None and len(points) > rows:
        listed = np.unique(np.linspace(0, len(points) - 1, rows).astype(int)).tolist()
    for i in listed:
        point = points[i]
        error = NOTHING if point.error is None else f"{point.error:.1%}"
        cells = [
            f"{point.step:,}",
            number(point.critical_sharpness, 4),
            number(point.threshold, 4),
            number(point.ratio),
            error,
            point.direction,
            f"{point.forward_passes}" + (" + gradient" if point.gradients else ""),
        ]
        table.add_row(*cells, *([number(top.get(point.step), 4)] if beside else []))
    shown: list[RenderableType] = [head("Critical sharpness along the run's updates"), table]
    if len(listed) < len(points):
        shown.append(Text(f"{len(listed)} of {len(points)} are shown, evenly spread.", style="dim"))
    reasons = sorted({point.reason for point in points if point.reason})
    shown += [Text(f"{line}.") for line in map(capital, of_subset(case))]
    return [*shown, Text(SAID, style="dim"), *(Text(printable(r), style="dim") for r in reasons)]

"""What the model answered to the inputs that were watched, and which pair's losses move with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from opsigcli.outcome import plain
from opsigcli.printable import count, printable
from opsigcli.probe_records import MovedBy
from opsigcli.reporting.format import MARKS, label_name, score, shorten
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.summary import group_curves
from opsigcli.reporting.tables import head
from opsigcli.reporting.textplot import TextPlot
from opsigcli.sentences import percent, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.probe_records import ProbeTrace
    from opsigcli.records import Case, Floats, Ints

SHOWN = 3  # classes of each probe, those that swing most
FEWEST = 8  # steps of a correlation
SKIPPED = 0.1  # of the steps: the first fall of the loss is no oscillation
STYLES = ("yellow", "cyan", "green")
ROWS = 5  # of a plot in the terminal
ONE = Scale(0.0, 1.0)


def swinging(traced: ProbeTrace) -> Ints:
    """Columns of the classes whose probability moves most from checkpoint to checkpoint, the most first."""
    changes = np.abs(np.diff(traced.probabilities.astype(np.float64), axis=0))
    size = np.nansum(changes, axis=0) if len(changes) else np.zeros(len(traced.classes))
    peak = np.nan_to_num(traced.probabilities.max(axis=0))
    return np.lexsort((np.arange(len(size)), -peak, -size))[:SHOWN]


def moved_by(case: Case, traced: ProbeTrace) -> MovedBy | None:
    """Of all groups the one whose mean loss moves most with the probability that swings most; None without any."""
    groups = list(case.mining.groups.items()) if case.mining else []
    steps = len(case.trace.steps) - 1
    if not groups:
        return None
    answer = np.diff(traced.probabilities[:, swinging(traced)[0]].astype(np.float64))
    curves = group_curves(case.trace, [group for _, group in groups])
    best: MovedBy | None = None
    for (key, _), curve in zip(groups, curves, strict=True):
        found, over = _correlation(answer, np.diff(curve), round(SKIPPED * steps))
        if over >= FEWEST and (best is None or abs(found) > abs(best.correlation)):
            best = MovedBy(key.pair, key.side, found, over, len(groups))
    return best


def class_names(case: Case, traced: ProbeTrace) -> list[str]:
    """The names of the classes that are kept."""
    return [label_name(number, case.run.classes) for number in traced.classes.tolist()]


def told(case: Case, traced: ProbeTrace) -> list[str]:
    """What a probe did, as sentences."""
    names, columns = class_names(case, traced), swinging(traced)
    known = np.flatnonzero(np.isfinite(traced.probabilities[:, columns[0]]))
    lines = []
    for column in columns[:1] if len(known) else ():
        values = traced.probabilities[known, column]
        low, high, last = (percent(float(value)) for value in (values.min(), values.max(), values[-1]))
        at = case.run.axis.at(int(case.trace.steps[known[-1]]))
        lines.append(say("probe: swings", name=names[column], low=low, high=high, last=last, at=at))
    if len(known) < len(case.trace.steps):
        checkpoints = count(len(case.trace.steps), "checkpoint")
        lines.append(say("probe: measured", amount=len(known), checkpoints=checkpoints))
    if (found := moved_by(case, traced)) is not None:
        lines.append(
            say(
                "probe: moved by",
                correlation=score(found.correlation),
                pair=f"{found.pair}{MARKS[found.side]}",
                groups=count(found.of, "group"),
                changes=f"{found.changes:,}",
            )
        )
    return lines


def render_probes(case: Case) -> list[RenderableType]:
    """A plot for each probe: the classes that swing most, on one axis with the run."""
    shown: list[RenderableType] = [head("Probes")] if case.probes else []
    for traced in case.probes:
        names = class_names(case, traced)
        columns = [int(column) for column in swinging(traced)]
        marks = [shorten(printable(names[column]), 16) for column in columns]
        plot = TextPlot(
            _axis(case), ONE, ROWS, f"{printable(traced.probe.words)}: {', '.join(marks)}", case.run.axis
        )
        for style, column in zip(STYLES, columns, strict=False):
            plot.curve(case.trace.steps, traced.probabilities[:, column].astype(np.float64), style)
        shown += [plot, *(Text(printable(line), style="dim") for line in told(case, traced))]
    return shown


def probes_data(case: Case) -> list[dict[str, Any]]:
    """All probes as data, with the group that moves with each."""
    return [
        {
            "probe": plain(traced.probe),
            "classes": class_names(case, traced),
            "probabilities": plain(traced.probabilities),
            "moved_by": plain(moved_by(case, traced)),
        }
        for traced in case.probes
    ]


def _axis(case: Case) -> Scale:
    return Scale(int(case.trace.steps[0]), int(case.trace.steps[-1]))


def _correlation(a: Floats, b: Floats, first: int) -> tuple[float, int]:
    """Pearson's, of what is finite in both from some place on; 0 where one of them is still."""
    a, b = a[first:], b[first:]
    both = np.isfinite(a) & np.isfinite(b)
    a, b = (
        a[both] - a[both].mean() if both.any() else a[both],
        b[both] - b[both].mean() if both.any() else b[both],
    )
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return (float(a @ b) / size if size > 0 else 0.0), int(both.sum())

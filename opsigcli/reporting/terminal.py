"""What each command shows in a terminal, as Rich renderables. Text from data is never read as markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

from opsigcli.axis import STEPS, Axis
from opsigcli.command_line import command
from opsigcli.printable import count, printable
from opsigcli.reporting.critical import render_critical
from opsigcli.reporting.curvature import where_it_is
from opsigcli.reporting.first_screen import held_together, moved, next_steps, no_spike, spike_lines, stability
from opsigcli.reporting.format import label_name, number, shorten, signed
from opsigcli.reporting.headline import headline
from opsigcli.reporting.listings import causal, eigen, kept_results
from opsigcli.reporting.listings import shown as listing_shown
from opsigcli.reporting.probes import render_probes
from opsigcli.reporting.repeat import commands, needed
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.sharpness_lines import step_check_lines
from opsigcli.reporting.spike_tables import spikes
from opsigcli.reporting.summary import (
    facts,
    held_against,
    mining_notes,
    notes,
    origins,
    ratio_of,
    residual,
    sharpness_name,
    sharpness_title,
    sharpness_values,
    unlike_lines,
)
from opsigcli.reporting.tables import head, pairs, table_of, top
from opsigcli.reporting.textplot import TextPlot
from opsigcli.reporting.training import render_training
from opsigcli.reporting.virtual import render_virtual
from opsigcli.sharpness_records import contradicted
from opsigcli.token_ids import LABELLED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.mining_records import (
        Mining,
        Spike,
    )
    from opsigcli.records import Case, LossTrace, TraceSummary
    from opsigcli.sharpness_records import SharpnessPoint

SHARP = "green"
FIRST_HEIGHT = 7  # rows of the loss in a report, whose first 40 lines say what matters
TOP_ROWS = 5  # examples on each side of a step, in the whole report
SHARPNESS_ROWS = 12  # rows of the sharpness table in the whole report


def render_trace(trace: LossTrace | TraceSummary) -> list[RenderableType]:
    """The loss trace: how much of it there is, the mean loss, and what virtual steps did."""
    shown = [*_trace_words(trace), loss_plot(trace, ())]
    virtual = getattr(trace, "virtual", None)
    return shown if virtual is None else shown + render_virtual(virtual, axis=trace.axis)


def render_mine(case: Case) -> list[RenderableType]:
    """What ``opsig mine`` found, with the labels of the examples."""
    if case.mining is None:
        return [Text(f"Nothing was mined yet: run {command('mine', store=case.store)}.")]
    shown = render_mining(case.mining, case.run.classes, trace=case.trace)
    if (parts := eigen(case)) is not None:
        shown += listing_shown(parts)
    if case.virtual is not None:
        shown += render_virtual(case.virtual, case.trace, case.run.classes)
    return shown


def render_mining(
    mining: Mining,
    classes: Sequence[str] = (),
    *,
    trace: LossTrace | None = None,
    top_rows: int | None = None,
) -> list[RenderableType]:
    """Pairs with their evidence, spikes, and the top examples of the strongest change.

    Args:
        mining: what was found.
        classes: class names.
        trace: adds labels of the top examples and the groups' losses around the strongest change.
        top_rows: top examples on each side of the step; None shows all that were kept.

    Returns:
        Renderables for a terminal of 60 columns or more.
    """
    shown = pairs(mining, trace)
    none = no_spike(trace, None) if trace else ""
    axis, naming = (trace.axis, trace.naming) if trace else (STEPS, LABELLED)
    shown += spikes(mining.spikes, axis, naming, none=none)
    shown += top(mining, classes, trace, top_rows)
    return shown + _notes(mining_notes(mining))


def render_sharpness(points: Sequence[SharpnessPoint], axis: Axis = STEPS) -> list[RenderableType]:
    """Sharpness against the stability threshold: a plot, and a row for every point."""
    return _sharpness(points, axis, rows=None)


def render_report(case: Case) -> list[RenderableType]:
    """The whole case: verdict, run, curves, pairs, spikes, top examples, all results and notes."""
    said = headline(case)
    shown: list[RenderableType] = [Text(printable(said.title), style="bold")]
    shown += [loss_plot(case.trace, case.spikes, FIRST_HEIGHT), *_first(case), Text()]
    shown += [Text(printable(line)) for line in said.found]
    shown += [Text(f"o {printable(line)}", style="dim") for line in said.missing]
    shown += [head("Run"), _facts(case)]
    shown += render_training(case)
    if case.sharpness:
        shown += [Text(), *_sharpness(case.sharpness, case.run.axis, rows=SHARPNESS_ROWS), *where_it_is(case)]
    if case.critical:
        shown += render_critical(case, SHARPNESS_ROWS)
    if case.virtual is not None:
        shown += render_virtual(case.virtual, case.trace, case.run.classes)
    if case.mining:
        shown += pairs(case.mining, case.trace, fold=True)
        if (parts := eigen(case)) is not None:
            shown += listing_shown(parts)
    shown += render_probes(case)
    shown += [part for listing in causal(case) for part in listing_shown(listing)]
    none = no_spike(case.trace, case.largest_rise)
    shown += spikes(case.spikes, case.run.axis, case.trace.naming, case.largest_rise, none)
    if case.mining:
        shown += top(case.mining, case.run.classes, case.trace, TOP_ROWS)
    if (results := kept_results(case)) is not None:
        shown += listing_shown(results)
    shown += [
        head("To repeat it, with these in one folder"),
        *(Text(f"- {printable(x)}") for x in needed(case)),
    ]
    shown += [Text(printable(line), style="dim") for line in commands(case)]
    return shown + _notes(notes(case))


def render_curvature(case: Case) -> list[RenderableType]:
    """What ``opsig sharpness`` found: sharpness against the threshold, and where it is."""
    return [*render_sharpness(case.sharpness, case.run.axis), *where_it_is(case)]


def _first(case: Case) -> list[RenderableType]:
    """Who held the spikes, what rose and fell most, how near the edge the run was, and what to run next."""
    lines: list[RenderableType] = []
    if together := held_together(case):
        lines.append(Text(printable(f"{together}.")))
    for line in spike_lines(case):
        text = Text(f"{line.span}, {line.rise}{case.run.loss_unit.after}, ").append(
            line.strength, style="bold"
        )
        lines.append(text.append(f": {printable(line.words)}"))
    lines += moved_lines(case)
    lines.append(Text(printable(stability(case))))
    lines += [Text(f"next: {printable(command)}") for command in next_steps(case)]
    return lines


def moved_lines(case: Case) -> list[Text]:
    """What rose and what fell most in the largest spike."""
    lines, naming = [], case.trace.naming
    for words, ids, deltas in moved(case):
        labels = case.trace.labels[case.trace.positions(ids)] if len(ids) else ids
        naming = case.trace.naming
        each = ", ".join(
            f"{naming.before(shorten(printable(label_name(int(label), case.run.classes)), 12))} {naming.id(i)} "
            f"{signed(float(delta))}".lstrip()
            for i, label, delta in zip(ids, labels, deltas, strict=True)
        )
        lines.append(Text(words, style="dim").append(f": {each}", style="not dim"))
    return lines


def render_store(case: Case) -> list[RenderableType]:
    """Which run a store is of, and what it holds of it."""
    commands = ", ".join(f"opsig {name}" for name, _ in origins(case))
    return [Text(printable(f"a store, with the results of {commands}")), Text(), _facts(case)]


def _facts(case: Case) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts(case):
        table.add_row(name, Text(printable(value)))
    return table


def _trace_words(trace: LossTrace | TraceSummary) -> list[RenderableType]:
    steps, mean = trace.steps, trace.mean_losses
    finite = np.flatnonzero(np.isfinite(mean))
    words = (
        f"{count(len(steps), 'checkpoint')}, {trace.axis.span(int(steps[0]), int(steps[-1]))}, "
        f"{count(len(trace.example_ids), 'example')}"
    )
    if len(finite):
        words += f"; mean loss {number(mean[finite[0]])} at first, {number(mean[finite[-1]])} at last"
    shown: list[RenderableType] = [Text(words)]
    if trace.mean_loss.words:
        shown.append(Text(f"The mean loss is {trace.mean_loss.words}."))
    if len(finite) < len(steps):
        gone = len(steps) - len(finite)
        shown.append(Text(f"The mean loss is not a finite number at {gone} of {len(steps)} checkpoints."))
    return shown


def loss_plot(trace: LossTrace | TraceSummary, spikes: Sequence[Spike], height: int = 10) -> TextPlot:
    """The mean loss along the run, in so many rows, with spikes marked below."""
    mean = trace.mean_losses
    y = value_scale(mean, allow_log=True)
    marked = f", {count(len(spikes), 'spike')} marked below" if spikes else ""
    title = f"Mean loss{trace.unit.heading}{' (log scale)' if y.log else ''}{marked}"
    plot = TextPlot(Scale(int(trace.steps[0]), int(trace.steps[-1])), y, height, title, trace.axis)
    plot.curve(trace.steps, mean)
    plot.steps_below([spike.next_step for spike in spikes])
    return plot


def _sharpness(points: Sequence[SharpnessPoint], axis: Axis, rows: int | None) -> list[RenderableType]:
    if not points:
        return [Text("Sharpness was not measured: run opsig sharpness.")]
    shown: list[RenderableType] = [_sharpness_plot(points, sharpness_title(points), axis)]
    table = table_of(
        (axis.one, "right"), (sharpness_name(points), "right"), ("residual", "right"), ("converged", ""),
        ("threshold", "right"), ("ratio", "right"),
    )  # fmt: skip
    values, unlike = sharpness_values(points), contradicted(points)
    listed: Sequence[int] = range(len(points))
    if rows is not None and len(points) > rows:
        listed = np.unique(np.linspace(0, len(points) - 1, rows).astype(int)).tolist()
    for i in listed:
        point = points[i]
        table.add_row(
            f"{point.step:,}",
            number(values[i], 4),
            number(residual(point), 2),
            "yes" if point.converged else Text("no", style="bold"),
            number(held_against(point), 4),
            ratio_of(point, unlike),
        )
    shown += [Text(), table, *(Text(line, style="dim") for line in unlike_lines(points))]
    if len(listed) < len(points):
        shown.append(Text(f"{len(listed)} of {len(points)} points are shown, evenly spread.", style="dim"))
    if rows is None:
        reasons = sorted({point.reason for point in points if point.reason})
        reasons += step_check_lines(points, axis)
        shown += [Text(printable(reason), style="dim") for reason in reasons]
    return shown


def _sharpness_plot(points: Sequence[SharpnessPoint], name: str, axis: Axis) -> TextPlot:
    steps = [point.step for point in points]
    values = sharpness_values(points)
    limits = np.array([held_against(p) for p in points])
    y = value_scale([*values, *limits], allow_log=True)
    hollow = any(not point.converged for point in points)
    title = name + (" (log scale)" if y.log else "")
    title += ", \u2504 stability threshold" if np.isfinite(limits).any() else ", no stability threshold known"
    title += ", \u25cb not converged" if hollow else ""
    plot = TextPlot(Scale(steps[0], steps[-1]), y, 10, title, axis)
    plot.limit(np.array(steps), limits)
    signs = ["\u25cf" if point.converged else "\u25cb" for point in points]
    plot.points(steps, values, signs, SHARP)
    return plot


def _notes(lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [head("Notes"), *(Text(f"- {printable(line)}") for line in lines)]

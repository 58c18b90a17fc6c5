"""What ``opsig report`` shows first: as much as fits a terminal of 40 lines, the most telling first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from opsigcli.command_line import command
from opsigcli.printable import count, printable
from opsigcli.reporting.edge import against_threshold
from opsigcli.reporting.first_screen import (
    SHOWN,
    held_together,
    largest,
    next_steps,
    spike_lines,
    stability,
    told,
)
from opsigcli.reporting.headline import headline
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.terminal import SHARP, loss_plot, moved_lines, render_report
from opsigcli.reporting.textplot import TextPlot
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from opsigcli.records import Case

LINES = 39  # one is left for the prompt
LOSS_ROWS, RATIO_ROWS = 7, 4
CHART, SAID, CAUSE, MORE, REST = range(
    5
)  # in this order parts are let in; a head and an end are always there


@dataclass(frozen=True)
class Screen:
    """A case of which the first screen is asked for."""

    case: Case


def render(view: Case | Screen) -> list[RenderableType]:
    """A case, or its first screen."""
    return [_Fitted(view.case)] if isinstance(view, Screen) else render_report(view)


class _Fitted:
    """The parts of the first screen that fit, in the order in which they are read."""

    def __init__(self, case: Case) -> None:
        said = headline(case)
        self.head = Text(printable(said.title), style="bold")
        self.parts: list[tuple[int, RenderableType]] = [
            (CHART, loss_plot(case.trace, case.spikes, LOSS_ROWS))
        ]
        if (ratios := ratio_plot(case)) is not None:
            self.parts.append((CHART, ratios))
        if together := held_together(case):
            self.parts.append((SAID, Text(printable(f"{together}."))))
        most = max((spike.rise for spike in told(case)), default=None)
        for line, spike in zip(spike_lines(case), largest(told(case), SHOWN), strict=True):
            text = Text(f"{line.span}, {line.rise}{case.run.loss_unit.after}, ").append(
                line.strength, style="bold"
            )
            # Who held the largest one is what a report is read for: no sentence takes its place.
            place = SAID if spike.rise == most else CAUSE
            self.parts.append((place, text.append(f": {printable(line.words)}")))
        self.parts += [(MORE, line) for line in moved_lines(case)]
        if case.sharpness and not against_threshold(case):  # else the verdict says it
            self.parts.append((SAID, Text(printable(stability(case)))))
        doubted = case.look is not None and bool(case.look.doubts or case.look.lost)
        for at, words in enumerate(said.found):
            self.parts.append((CHART if doubted and not at else SAID, Text(printable(words))))
        self.parts += [(REST, Text(f"o {printable(line)}", style="dim")) for line in said.missing]
        if kept := sum(not result.shown for result in case.results):
            more = count(kept, "more result", "more results")
            self.parts.append((MORE, Text(f"{more} in the store beside what is shown here", style="dim")))
        self.end = [Text(f"next: {printable(line)}") for line in next_steps(case)]
        self.end.append(Text(f"all of it: {command('report', store=case.store, options=('--full',))}"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def lines(part: RenderableType) -> int:
            return len(console.render_lines(part, options, pad=False))

        room = LINES - sum(map(lines, [self.head, *self.end]))
        kept = set()
        for place in sorted(range(len(self.parts)), key=lambda place: (self.parts[place][0], place)):
            height = lines(self.parts[place][1])
            if height <= room:
                kept.add(place)
                room -= height
        yield self.head
        yield from (part for place, (_, part) in enumerate(self.parts) if place in kept)
        yield from self.end


def ratio_plot(case: Case) -> TextPlot | None:
    """The stability ratio along the run, with the edge at 1; None where there is none."""
    points = [p for p in case.sharpness if p.ratio is not None and np.isfinite(p.ratio)]
    if not points:
        return None
    trace, values = case.trace, [p.ratio or 0.0 for p in points]
    unlike = contradicted(case.sharpness)
    held = [p.converged and p.step not in unlike for p in points]
    ends = np.array([int(trace.steps[0]), int(trace.steps[-1])])
    said = ["not converged"] if not all(p.converged for p in points) else []
    said += ["contradicted by the weights"] if any(p.step in unlike for p in points) else []
    hollow = f", \u25cb {' or '.join(said)}" if said else ""
    title = f"Stability ratio, \u2504 edge of stability{hollow}"
    plot = TextPlot(
        Scale(int(ends[0]), int(ends[1])),
        value_scale([*values, 1.0], allow_log=True),
        RATIO_ROWS,
        title,
        trace.axis,
    )
    plot.limit(ends, np.ones(2))
    plot.points([p.step for p in points], values, ["\u25cf" if good else "\u25cb" for good in held], SHARP)
    return plot

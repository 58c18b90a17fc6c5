"""Two streams: stdout holds the result, stderr everything said on the way to it.

This is the one place that prints, and it lets nothing through that could steer a terminal or be taken for opsig's own
words: text is never markup, and what is not seen is shown as such (see ``opsigcli.printable``).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

from opsigcli.cli.actions import annotation, defused, in_actions
from opsigcli.errors import OpsigError
from opsigcli.outcome import Outcome, error_json
from opsigcli.printable import printable, printable_lines, spelled
from opsigcli.progress import Task

LINE_SECONDS = 10.0  # without a terminal, a task says how far it is about this often


class _Stream(Console):
    """A stream whose reader may go away, as ``opsig report | head`` has it, which is no exit code of a gate."""

    def on_broken_pipe(self) -> None:
        """Leave it to who runs the command.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError


class Terminal:
    """Prints outcomes, errors and progress.

    Args:
        as_json: the result is one JSON object on stdout.
        quiet: nothing but results, warnings and errors.
        verbose: one line per unit of work when there is no terminal, and what is said on the side.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.out = _Stream(highlight=False, markup=False, emoji=False)
        self.err = _Stream(stderr=True, highlight=False, markup=False, emoji=False)

    def outcome(self, outcome: Outcome) -> None:
        """Print what a command returned."""
        if self.as_json:
            print(outcome.to_json())
        elif not outcome.document:
            self._view(outcome)
        elif not self.quiet:
            print(spelled(defused(printable_lines(outcome.document)), self.out.encoding), end="")
        for warning in outcome.warnings:
            self._say(warning, "warning:", "yellow")
        if not self.quiet and not self.as_json:
            for message in outcome.messages:
                self._say(message)
        for failure in outcome.failures:
            self._say(failure, "gate tripped:", "bold red")
            self._annotate("opsig gate", failure)

    def error(self, error: OpsigError, schema: str) -> None:
        """Print an error: the message, and the hint on a line of its own."""
        if self.as_json:
            with contextlib.suppress(OSError):  # it may be what the error is about
                print(error_json(schema, error))
        self._say(error.message, "error:", "bold red")
        if error.hint:
            self._say(error.hint, "hint:", "cyan")
        self._annotate("opsig", f"{error.message}\n{error.hint}".strip())

    def log(self, message: str) -> None:
        """Say something on the side, with --verbose."""
        if self.verbose and not self.quiet:
            self._say(message)

    @contextmanager
    def task(self, name: str, total: int, unit: str = "it") -> Iterator[Task]:
        """A progress bar on a terminal, plain lines elsewhere."""
        if self.quiet:
            yield _Lines(self.err, name, total, unit, every=None)
        elif not self.err.is_terminal:
            yield _Lines(self.err, name, total, unit, every=0.0 if self.verbose else LINE_SECONDS)
        else:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=12),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn(
                    "{task.fields[note]}",
                    table_column=Column(no_wrap=True, overflow="ellipsis"),
                    markup=False,
                ),
            )
            with RichProgress(*columns, console=self.err) as bars:
                yield _Bar(bars, bars.add_task(name, total=total, rate="", note=""))

    def _view(self, outcome: Outcome) -> None:
        if outcome.view is None or self.quiet:
            return
        from opsigcli.reporting import RENDERERS

        for renderable in RENDERERS.load(outcome.schema)(outcome.view):
            self.out.print(_Seen(renderable))

    def _annotate(self, title: str, message: str) -> None:
        """Where GitHub runs this, the line that has it shown beside a change."""
        if in_actions():
            text = Text(spelled(annotation(title, printable_lines(message)), self.err.encoding))
            self.err.print(text, soft_wrap=True)

    def _say(self, message: str, head: str = "", style: str = "") -> None:
        """A message on stderr; lines after its first are set in, so that none looks like a message of its own."""
        first, *more = defused(printable_lines(message)).split("\n")
        text = Text.assemble((head, style), " " if head else "", spelled(first, self.err.encoding))
        for line in more:
            text.append(spelled(f"\n  {line.removeprefix('  ')}", self.err.encoding))
        self.err.print(text, soft_wrap=True)


class _Seen:
    """A renderable of which only what is seen reaches the terminal; styles are kept."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self.inner, options):
            seen = text if control else spelled(defused(printable_lines(text)), options.encoding)
            yield Segment(seen, style, control)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, units: int = 1, note: str = "") -> None:
        self.bars.update(self.task, advance=units, note=printable(note))
        speed = self.bars.tasks[0].speed
        if speed:
            self.bars.update(self.task, rate=f"{speed:.3g}/s" if speed >= 1 else f"{1 / speed:.3g} s each")


class _Lines:
    """Plain progress lines: at least ``every`` seconds apart, and one at the end."""

    def __init__(self, console: Console, name: str, total: int, unit: str, every: float | None) -> None:
        self.console, self.name, self.total, self.unit, self.every = console, name, total, unit, every
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units
        now = time.monotonic()
        if self.every is None:
            return
        wait = self.every if units else LINE_SECONDS
        if now - self.last < wait and (self.done < self.total or not units):
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        line = f"{self.name}: {self.done}/{self.total}, {rate:.3g} {self.unit}/s"
        if 0 < self.done < self.total:
            line += f", {_duration((self.total - self.done) / rate)} left"
        self.console.print(defused(printable(line + (f", {note}" if note else ""))), soft_wrap=True)


def _duration(seconds: float) -> str:
    """Time left, in the unit that suits."""
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 3600:.1f} h"


def flush() -> None:
    """Push out what is buffered; a reader that has gone away is no error.

    What cannot be written is given up: Python would try again at its end, and exit with a status of its own.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is not None:  # as it is where the command was started with it closed
                stream.flush()
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123

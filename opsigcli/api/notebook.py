"""Progress of long calls in a notebook: a bar that the cell shows, and nothing where there is no notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opsigcli.printable import printable
from opsigcli.progress import SILENT, Progress, Task

SECONDS, SHORT = 0.2, 1.0  # between two updates of a bar; tasks that are over before have none


def progress_here() -> Progress:
    """What shows progress where the program runs: a bar in a notebook, else nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return Notebook() if hasattr(shell, "kernel") else SILENT


class Notebook:
    """Bars in the output of a cell."""

    @contextmanager
    def task(self, name: str, total: int, unit: str = "it") -> Iterator[Task]:
        """A bar for one task; it stays when the task has ended."""
        bar = Bar(name, total, unit)
        yield bar
        bar.end()

    def log(self, message: str) -> None:
        """What is told on the side is not shown."""


class Bar:
    """One bar, redrawn in its place.

    Args:
        name: of the task.
        total: units of it.
        unit: the name of one.
    """

    def __init__(self, name: str, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.note = 0, ""
        self._begun = self._last = time.monotonic()
        self._handle: Any = None

    @property
    def text(self) -> str:
        """The bar as HTML."""
        words = html.escape(
            printable(f"{self.name}: {self.done}/{self.total} {self.unit} {self.note}".rstrip())
        )
        return f'<progress value="{self.done}" max="{max(self.total, 1)}"></progress> <code>{words}</code>'

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count units as done."""
        self.done, self.note = self.done + units, note or self.note
        now = time.monotonic()
        if now - self._begun > SHORT and now - self._last > SECONDS:
            self.show()

    def show(self) -> None:
        """Draw the bar as it is now."""
        self._last = time.monotonic()
        display: Any = sys.modules["IPython"].display
        if self._handle is None:
            self._handle = display.display(display.HTML(self.text), display_id=True)
        else:
            self._handle.update(display.HTML(self.text))

    def end(self) -> None:
        """Draw it as it was at the end, if it was shown at all."""
        if self._handle is not None:
            self.show()

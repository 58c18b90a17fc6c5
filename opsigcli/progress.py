"""How a command tells that it moves, without knowing about terminals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One long piece of work with a known number of units."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count ``units`` as done; ``note`` is the current loss, residual or file."""


class Progress(Protocol):
    """Where tasks are announced."""

    def task(self, name: str, total: int, unit: str = "it") -> AbstractContextManager[Task]:
        """Open a task of ``total`` units, each one ``unit``."""

    def log(self, message: str) -> None:
        """Tell something on the side (shown with --verbose)."""


class _Silent:
    def advance(self, units: int = 1, note: str = "") -> None:
        pass


class NoProgress:
    """Progress that nobody watches: for tests and for use as a library."""

    @contextmanager
    def task(self, name: str, total: int, unit: str = "it") -> Iterator[Task]:
        yield _Silent()

    def log(self, message: str) -> None:
        pass


SILENT = NoProgress()

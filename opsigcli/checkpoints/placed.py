"""Checkpoints on the way to their order: the numbers found for each, and the place that each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opsigcli.checkpoints.base import SOURCES
from opsigcli.checkpoints.names import NOTHING, Counted


@dataclass(frozen=True)
class Numbered:
    """A file with the numbers found for it."""

    file: str
    modified: float
    numbers: Mapping[str, Mapping[str, int]]  # source -> unit -> number
    lr: float | None = None
    named: Counted = NOTHING  # what its name counts, among those of its folder
    ref: str = ""  # what it is called, where that is not the name of its file

    @property
    def name(self) -> str:
        """What people call it."""
        return self.ref or self.file

    def best(self, unit: str) -> tuple[int, str] | None:
        """The number of a unit and its source, the best that has one; None where none has."""
        found = ((self.numbers[s][unit], s) for s in SOURCES if unit in self.numbers.get(s, ()))
        return next(found, None)


@dataclass(frozen=True)
class Placed:
    """A file's place in the series."""

    file: str
    step: int
    source: str


@dataclass(frozen=True)
class Order:
    """The files in order, the unit of their steps, the files that found no place (file -> reason), and what to know."""

    placed: tuple[Placed, ...]
    unit: str
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()

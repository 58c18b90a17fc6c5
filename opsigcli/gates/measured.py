"""What is known of one number of a case."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.records import Case


@dataclass(frozen=True)
class Measured:
    """A number of a case, or why there is none."""

    value: float | None  # in the metric's unit; None = not measured, or not a finite number
    words: str = ""  # where and of what it is, or why there is none


@dataclass(frozen=True)
class Metric:
    """A number that a gate can be about."""

    unit: str
    definition: str  # one sentence
    measure: Callable[[Case], Measured]

    def of(self, case: Case) -> Measured:
        """What it is in a case; never a value that is not finite."""
        found = self.measure(case)
        if found.value is not None and not math.isfinite(found.value):
            return Measured(None, f"it is not a finite number{f', {found.words}' if found.words else ''}")
        return found


def missing(why: str) -> Measured:
    """No number, and why."""
    return Measured(None, why)

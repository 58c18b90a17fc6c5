"""What an earlier report said, as a baseline to hold a new one against."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.errors import ReportError
from opsigcli.files import read_file
from opsigcli.result_records import VIRTUAL

if TYPE_CHECKING:
    from opsigcli.records import Case

SCHEMA = "opsig/report"
# The first word of a metric -> the command whose results it is of; others are of the trace.
MAKES = {
    "sharpness": "sharpness",
    "critical": "sharpness --quick",
    "findings": "mine",
    "opposition": "mine",
    "pairs": "mine",
    "interference": VIRTUAL,
}
AGAIN = "make it again: opsig report --json > FILE"


@dataclass(frozen=True)
class Likeness:
    """What has to be alike for numbers of two cases to be of the same quantity."""

    fingerprint: str  # of the data
    loss: str  # spec
    unit: str  # what steps count
    results: tuple[str, ...]  # names of the results that are shown

    def unlike(self, other: Likeness) -> list[str]:
        """What differs, in words: of the whole case, and of each command's results."""
        return [
            *self._whole(other),
            *filter(None, (self._shown(other, made) for made in dict.fromkeys(MAKES.values()))),
        ]

    def apart(self, metric: str, other: Likeness) -> str:
        """Why a metric is another quantity in the other case; "" where it is the same."""
        made = MAKES.get(metric.partition(".")[0], "")
        return "; ".join([*self._whole(other), *filter(None, [made and self._shown(other, made)])])

    def _whole(self, other: Likeness) -> list[str]:
        said = []
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            said.append("it is of other data, by their fingerprint")
        if self.loss != other.loss:
            said.append(f"its loss is {other.loss}, here it is {self.loss}")
        if self.unit != other.unit:
            said.append(f"it counts {other.unit}s, here there are {self.unit}s")
        return said

    def _shown(self, other: Likeness, made: str) -> str:
        """Which results of one command are of other choices in the other case, where both have some."""
        here, there = ([name for name in case.results if _made(name) == made] for case in (self, other))
        if not here or not there or here == there:
            return ""
        return f"it shows {', '.join(map(repr, there))}, here it is {', '.join(map(repr, here))}"


def _made(name: str) -> str:
    """The command that makes results of a name, in which choices follow it."""
    return max((made for made in MAKES.values() if f"{name} ".startswith(f"{made} ")), key=len, default="")


@dataclass(frozen=True)
class Baseline:
    """The metrics of another case."""

    path: Path
    values: dict[str, float | None]  # by name; None = not measured there
    likeness: Likeness


def likeness_of(case: Case) -> Likeness:
    """Of a case."""
    shown = tuple(sorted(result.name for result in case.results if result.shown))
    return Likeness(case.run.fingerprint, case.run.loss, case.run.axis.one, shown)


def read_baseline(path: Path) -> Baseline:
    """The metrics in what ``opsig report --json`` printed.

    Raises:
        ReportError: it cannot be read, is no such report, or is one of an error, a newer or an older version.
    """
    try:
        found = json.loads(read_file(path).decode())
    except OSError as error:
        raise ReportError(f"cannot read the baseline {path}: {error.strerror or error}", AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"expected JSON in the baseline {path}: {error}", AGAIN) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ReportError(f"expected the baseline {path} to be of schema {SCHEMA!r}", AGAIN)
    if "error" in found:
        raise ReportError(
            f"expected a report in the baseline {path}, found the error that one ended with", AGAIN
        )
    result = found.get("result")
    metrics = result.get("metrics") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(metrics, dict):
        raise ReportError(f"expected result.metrics in the baseline {path}, found none", AGAIN)
    values = {str(name): _value(path, name, metric) for name, metric in metrics.items()}
    return Baseline(path, values, _likeness(result))


def _value(path: Path, name: str, metric: Any) -> float | None:
    value = metric.get("value") if isinstance(metric, dict) else False
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
        raise ReportError(f"expected a number or null for {name!r} in the baseline {path}", AGAIN)
    return float(value)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _likeness(result: dict[str, Any]) -> Likeness:
    run, results = result.get("run"), result.get("results")
    facts = run if isinstance(run, dict) else {}
    named = [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []
    shown = tuple(sorted(str(item.get("name")) for item in named if item.get("shown")))
    return Likeness(
        str(facts.get("fingerprint", "")), str(facts.get("loss", "")), str(result.get("unit", "step")), shown
    )

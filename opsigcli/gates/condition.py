"""A condition on a case: ``METRIC OP BOUND``, read by a grammar of its own and never evaluated as code."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from opsigcli.errors import UsageError
from opsigcli.gates.metrics import METRICS
from opsigcli.registry import did_you_mean, nearest

FAIL_ON, REQUIRE = "fail-on", "require"  # what a condition says must not be, or must be
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
OPPOSITE = {"<=": ">", ">=": "<", "==": "!=", "!=": "==", "<": ">=", ">": "<="}
EXAMPLE = "example: --fail-on 'sharpness.ratio.max > 1.2', --require 'loss.last <= baseline * 1.1'"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CONDITION = re.compile(r"([\w.-]+)\s*(<=|>=|==|!=|<|>)\s*(\S.*)", re.ASCII)
_BASELINE = re.compile(rf"baseline(?:\s*([*+-])\s*({_NUMBER}))?|({_NUMBER})\s*\*\s*baseline", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """One gate: a condition that must not hold (``fail-on``) or must hold (``require``)."""

    sense: str  # FAIL_ON or REQUIRE
    metric: str  # a name in METRICS
    operator: str
    against_baseline: bool = False
    factor: float = 1.0  # of the baseline's value
    shift: float = 0.0  # the bound itself where there is no baseline

    @property
    def text(self) -> str:
        """The condition as it is said, numbers as Python writes them."""
        return f"{self.metric} {self.operator} {self._bound_text}"

    @property
    def _bound_text(self) -> str:
        if not self.against_baseline:
            return f"{self.shift:g}" if float(f"{self.shift:g}") == self.shift else repr(self.shift)
        if self.factor != 1:
            return f"baseline * {self.factor!r}"
        return f"baseline {'-' if self.shift < 0 else '+'} {abs(self.shift)!r}" if self.shift else "baseline"

    def bound(self, baseline: float | None) -> float | None:
        """What the metric is held against; None where the baseline has no such number."""
        if not self.against_baseline:
            return self.shift
        return None if baseline is None else baseline * self.factor + self.shift

    def holds(self, value: float, bound: float) -> bool:
        """Whether it is true of two finite numbers."""
        return OPERATORS[self.operator](value, bound)


def read_condition(text: str, sense: str) -> Condition:
    """A condition from its text.

    Args:
        text: METRIC, then < <= > >= == or !=, then a number, or ``baseline`` alone, times, plus or minus a number.
        sense: FAIL_ON or REQUIRE.

    Raises:
        UsageError: it is none, names no metric, or would fail exactly where nothing has become worse.
    """
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        expected = f"--{sense} 'METRIC OP NUMBER' with {' '.join(OPERATORS)} for OP"
        raise UsageError(f"expected {expected}, found {text!r}", EXAMPLE)
    metric, sign, right = found.groups()
    if metric not in METRICS:
        close = did_you_mean(nearest(metric, METRICS), "")
        raise UsageError(
            f"expected a metric in --{sense} {text!r}, found {metric!r}",
            close or "opsig report --list-metrics",
        )
    if re.fullmatch(_NUMBER, right, re.ASCII):
        return Condition(sense, metric, sign, shift=_finite(right, text, sense))
    against = _BASELINE.fullmatch(right)
    if against is None:
        raise UsageError(
            f"expected a number, 'baseline', 'baseline * 1.1' or 'baseline + 0.1' after {sign} in --{sense} {text!r}, "
            f"found {right!r}",
            EXAMPLE,
        )
    condition = _against(Condition(sense, metric, sign, True), against, text)
    if sense == FAIL_ON and sign in ("<", "<=", "=="):
        kept = f"{condition.metric} {OPPOSITE[sign]} {condition._bound_text}"
        raise UsageError(
            f"--fail-on {text!r} fails where it is true, which is where nothing is above the baseline",
            f"say what has to hold, --require {condition.text!r}, or what must not, --fail-on {kept!r}",
        )
    return condition


def _against(condition: Condition, found: re.Match[str], text: str) -> Condition:
    sign, number, before = found.groups()
    if number is None and before is None:
        return condition
    value = _finite(number or before, text, condition.sense)
    factor = value if before or sign == "*" else 1.0
    shift = 0.0 if before or sign == "*" else -value if sign == "-" else value
    return Condition(condition.sense, condition.metric, condition.operator, True, factor, shift)


def _finite(number: str, text: str, sense: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise UsageError(f"expected a finite number in --{sense} {text!r}, found {number}", EXAMPLE)
    return value

"""Conditions held against what was measured. What is not a finite number never passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opsigcli.gate_records import GateResult, MetricValue
from opsigcli.gates.condition import FAIL_ON, Condition


@dataclass(frozen=True)
class Gate:
    """A condition, and where it was given."""

    condition: Condition
    origin: str  # "command line", or a file


def judge(
    gates: Iterable[Gate],
    found: Mapping[str, MetricValue],
    before: Mapping[str, float | None] | None,
    apart: Callable[[str], str] = lambda _: "",
) -> tuple[GateResult, ...]:
    """What comes of each gate, in order.

    Args:
        gates: the conditions.
        found: of every metric.
        before: value of every metric of the baseline; None without one.
        apart: why a metric of the baseline, by its name, is another quantity; "" where it is the same.
    """
    return tuple(
        _judge(gate, found[gate.condition.metric], before, apart(gate.condition.metric)) for gate in gates
    )


def _judge(
    gate: Gate, found: MetricValue, before: Mapping[str, float | None] | None, apart: str
) -> GateResult:
    condition = gate.condition
    old = (before or {}).get(condition.metric)
    bound = condition.bound(old)
    foreign = apart if condition.against_baseline else ""
    measured = found.value is not None and bound is not None and math.isfinite(bound) and not foreign
    tripped = True
    if found.value is None:
        words = f"{condition.metric} was not measured: {found.words}"
    elif bound is None:
        words = f"{condition.metric} was not measured in the baseline"
    elif foreign:
        words = f"{condition.metric} cannot be held against the baseline: {foreign}"
    elif not math.isfinite(bound):
        words = f"the bound {condition.text.partition(condition.operator)[2].strip()} is not a finite number"
    else:
        tripped = condition.holds(found.value, bound) == (condition.sense == FAIL_ON)
        where = f" ({found.words})" if found.words else ""
        words = f"{condition.metric} is {found.value:.6g}{where}"
        if condition.against_baseline:
            words += f"; the baseline has {old:.6g}, the bound is {bound:.6g}"
    return GateResult(
        condition.text,
        condition.sense,
        tripped,
        measured,
        condition.metric,
        found.value,
        bound,
        old,
        words,
        gate.origin,
    )


def sentence(result: GateResult) -> str:
    """A gate and what came of it: ``--fail-on 'loss.last > 2': loss.last is 2.3 (at step 60)``."""
    return f"--{result.sense} {result.condition!r}: {result.words}"

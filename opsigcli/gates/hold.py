"""A case held against its gates, and what a pipeline is told of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.gate_records import GateResult, MetricValue
from opsigcli.gates.baseline import Baseline, likeness_of
from opsigcli.gates.judge import Gate, judge, sentence
from opsigcli.gates.metrics import measure
from opsigcli.outcome import plain

if TYPE_CHECKING:
    from opsigcli.records import Case

SUMMARY = "GITHUB_STEP_SUMMARY"  # of the environment: the file that GitHub shows below a job


@dataclass(frozen=True)
class Held:
    """What came of the gates of a case."""

    metrics: Mapping[str, MetricValue]
    results: tuple[GateResult, ...]
    baseline: Baseline | None
    warnings: tuple[str, ...]  # why the baseline is of something else

    @property
    def before(self) -> Mapping[str, float | None] | None:
        """The metrics of the baseline."""
        return None if self.baseline is None else self.baseline.values

    @property
    def data(self) -> dict[str, Any]:
        """What ``--json`` says of it."""
        old = self.baseline
        return {
            "metrics": plain(self.metrics),
            "gates": plain(self.results),
            "baseline": None if old is None else {"file": str(old.path), "metrics": plain(old.values)},
        }

    @property
    def passed(self) -> tuple[str, ...]:
        """A line for every gate that did not trip."""
        return tuple(f"gate passed: {sentence(gate)}" for gate in self.results if not gate.tripped)

    @property
    def tripped(self) -> tuple[str, ...]:
        """A line for every gate that did."""
        return tuple(sentence(gate) for gate in self.results if gate.tripped)


def hold(case: Case, gates: Sequence[Gate], baseline: Baseline | None) -> Held:
    """Hold a case against gates, and where they say so against a baseline."""
    metrics = measure(case)
    if baseline is None:
        return Held(metrics, judge(gates, metrics, None), None, ())
    own, other = likeness_of(case), baseline.likeness
    return Held(
        metrics,
        judge(gates, metrics, baseline.values, lambda metric: own.apart(metric, other)),
        baseline,
        tuple(f"the baseline {baseline.path} is not comparable: {why}" for why in own.unlike(other)),
    )


def add_to_summary(document: str) -> list[str]:
    """Add Markdown to the summary of a pipeline, where there is one.

    Returns:
        Why it could not be added, as warnings: that is no reason to end before a gate trips.
    """
    if not (place := os.environ.get(SUMMARY)):
        return []
    try:
        with Path(place).open("ab") as file:
            file.write(document.encode())
    except (OSError, ValueError) as error:
        return [f"${SUMMARY} was not written: {error}"]
    return []

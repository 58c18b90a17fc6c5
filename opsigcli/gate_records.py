"""The nouns of gates: what a metric came to, and what came of a condition on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricValue:
    """A number of a case that a gate can be about."""

    value: float | None  # in the unit; None = not measured, or not a finite number
    unit: str  # nats, pairs, of 1 …
    words: str  # where and of what it is, or why there is none


@dataclass(frozen=True)
class GateResult:
    """What came of one gate."""

    condition: str  # METRIC OP BOUND
    sense: str  # fail-on: it must not hold; require: it must hold
    tripped: bool  # it fails the pipeline
    measured: bool  # the metric, and the baseline's where the condition names one, are finite numbers
    metric: str  # name
    value: float | None  # of the metric, in its unit
    bound: float | None  # that it is held against, likewise
    baseline: float | None  # the metric in the baseline, likewise
    words: str  # what was found, in a sentence
    origin: str  # the command line, or the project's file that the gate stands in

"""What mine, sharpness, report and schema answer, key by key."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from opsigcli.comparison_records import ComparedRun, Gains, PairElsewhere, SharedExamples
from opsigcli.gate_records import GateResult, MetricValue
from opsigcli.look_records import Look
from opsigcli.mining_records import EigenChange, Mining, Pair, Spike, TopDeltas
from opsigcli.probe_records import MovedBy, Probe
from opsigcli.records import Run, VirtualSteps
from opsigcli.result_records import Causal, CausalArm, CausalEffect, Result
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.training_records import AgainstLog, RecordedFact


class CausalTold(TypedDict):
    """What training does without the mined groups."""

    step: int  # of the first fork
    updates: int  # of each arm
    arms: list[CausalArm]  # with whom left out, at each fork
    caveat: str  # what it does not show, or why there are no arms
    effects: list[CausalEffect]  # of the mined groups, and beyond each control
    notes: list[str]  # where the forks are and why
    groups: str  # digest of the groups that were left out
    seed: int  # of the random controls
    test_data: str  # spec; "" for none
    sentences: list[str]  # what the numbers warrant


class Mine(TypedDict):
    """What was mined."""

    pairs: list[Pair]  # of opposing groups, proposals too
    top: list[TopDeltas]  # the largest loss changes of each step
    spikes: list[Spike]  # of the mean loss
    recovery: dict[str, float] | None  # against planted pairs: found, known, f1, precision
    unit: str  # what steps count
    method: str  # a name in METHODS
    gradient_steps: list[int]  # checkpoints whose gradients were compared
    candidates: int  # examples whose gradients were compared
    notes: list[str]  # limits and advice
    eigen: list[EigenChange]  # of --method eigen: loss deltas in parts along the Hessian's top eigenvectors
    explained: dict[str, float]  # adjusted R² of the high-passed loss deltas by class and others
    causal: CausalTold | None  # of --causal
    virtual: VirtualSteps | None  # what virtual steps did, where the trace has them


class Peak(TypedDict):
    """The largest value along a run."""

    step: int  # where
    sharpness: NotRequired[float]  # there
    ratio: float | None  # there; null where there is none, or one that the weights contradict


class Spread(TypedDict):
    """How much sharpness depends on the subset that it was measured on."""

    examples: int  # of a subset
    step: int  # where it depends most
    subsets: int  # that were measured
    least: float  # sharpness of them
    most: float  # likewise
    relative_deviation: float  # standard deviation over the mean


class Sharpness(TypedDict):
    """What sharpness was measured."""

    store: str  # the case file
    unit: str  # what steps count
    points: list[SharpnessPoint]  # by step
    phases: list[Phase]  # of all that was ever measured
    peak: Peak | None  # of the sharpness
    first_step_at_threshold: int | None  # with a ratio of 1 or more that the weights do not contradict
    subset: Spread | None  # of --examples
    steps_left: list[int]  # that the budget did not reach
    failed: dict[str, str]  # file -> why
    mean: str  # how the mean loss is taken


class QuickSharpness(TypedDict):
    """What sharpness --quick measured."""

    store: str  # the case file
    critical_sharpness: list[CriticalSharpness]  # by step
    unit: str  # what steps count
    peak: Peak | None  # of the ratio
    first_step_past_threshold: int | None  # with a ratio of 1 or more
    forward_passes: int  # over all examples
    gradients: int  # likewise
    steps_left: list[int]  # that the budget did not reach
    failed: dict[str, str]  # file -> why


class BaselineUsed(TypedDict):
    """What gates were held against."""

    file: str  # a report, or a store
    metrics: dict[str, float | None]  # by name; null = not measured there


class ProbeAnswers(TypedDict):
    """What the model answered to an input that was watched."""

    probe: Probe  # the input
    classes: list[str]  # (c) that are kept
    probabilities: list[float]  # (T, c) of these at each checkpoint; null = not measured
    moved_by: MovedBy | None  # null without groups, or in too short a run


class Report(TypedDict):
    """The whole case."""

    run: Run  # that the store is of
    examples: int  # N
    unit: str  # what steps count
    steps: list[int]  # (T,)
    mean_losses: list[float]  # (T,) nats
    spikes: list[Spike]  # of the mean loss, with their causes
    largest_rise: Spike | None  # where there is no spike
    mining: Mining | None  # what was mined
    causal: list[Causal]  # of --causal
    sharpness: list[SharpnessPoint]  # of the result that is shown
    phases: list[Phase]  # by its sharpness
    critical_sharpness: list[CriticalSharpness]  # of sharpness --quick
    virtual: VirtualSteps | None  # what virtual steps did
    training_log: AgainstLog | None  # the mean loss beside the one that the run logged
    recorded_facts: list[RecordedFact]  # what training did and the trace does not
    look: Look | None  # the ends of the run beside a guess
    failed: (
        dict[str, str] | None
    )  # file -> why the latest trace could not have it; null where it is not known
    probes: list[ProbeAnswers]  # inputs that were watched along the run
    results: list[Result]  # all that the store keeps; of those above the name alone
    metrics: dict[str, MetricValue]  # what gates can be about, by name
    gates: list[GateResult]  # what came of each gate
    baseline: BaselineUsed | None  # of --baseline
    html: NotRequired[str]  # the page that was written
    figure: NotRequired[str]  # of --figure
    markdown: NotRequired[str]  # of --markdown


class Compared(TypedDict):
    """Several runs side by side: report of several stores."""

    runs: list[ComparedRun]  # each
    differing: list[str]  # settings that are not the same in all runs
    shared: list[SharedExamples]  # of each two runs
    shared_by_all: int  # examples that all runs have
    elsewhere: list[PairElsewhere]  # what the pairs of each run do in the others
    gains: Gains | None  # which groups gain and lose; null where the runs are nowhere the same
    notes: list[str]  # why something is not compared
    html: NotRequired[str]  # the page that was written


class Export(TypedDict):
    """A table that was written."""

    what: str  # losses, deltas, sharpness, pairs or examples
    format: str  # csv, parquet, npz or jsonl
    file: str  # that was written
    rows: int  # of the table
    columns: list[str]  # their names


class MetricDefinition(TypedDict):
    """What a metric is."""

    unit: str  # nats, pairs, of 1 …
    definition: str  # a sentence


class Metrics(TypedDict):
    """What gates can be about (opsig report --list-metrics)."""

    metrics: dict[str, MetricDefinition]  # by name


class Schema(TypedDict):
    """A JSON Schema, or which there are (opsig schema)."""

    names: list[str]  # of all
    schema: NotRequired[dict[str, Any]]  # that was asked for

"""Metrics are what a plain look at the same case gives, and are missing where that is not a number of the whole run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reporting_case import make_case, with_losses

from opsigcli.gates.baseline import Likeness
from opsigcli.gates.condition import read_condition
from opsigcli.gates.judge import Gate, judge
from opsigcli.gates.metrics import METRICS, measure
from opsigcli.look_records import Look, Score
from opsigcli.mining_records import TRACED, Spike
from opsigcli.records import Case, Provenance, VirtualSteps
from opsigcli.sharpness_records import CriticalSharpness, SharpnessPoint, StepCheck
from opsigcli.training_records import AgainstLog

NAN = float("nan")


def value(case: Case, name: str) -> float | None:
    return measure(case)[name].value


def point(step: int, ratio: float | None, **changes: Any) -> SharpnessPoint:
    return replace(SharpnessPoint(step, (25.0 * (ratio or 0),), (1e-4,), True, 9, 25.0, ratio), **changes)


def measured(*points: SharpnessPoint) -> Case:
    return replace(make_case(), sharpness=points)


def test_pairs_mined_before_more_was_traced_are_not_measured() -> None:
    case = make_case()
    assert case.mining is not None
    for checkpoints, known in ((len(case.trace.steps), True), (13, False)):
        made = Provenance("mine", {TRACED: checkpoints}, "")
        of = replace(case, mining=replace(case.mining, provenance=made))
        for name in (
            "findings.count",
            "findings.energy.max",
            "opposition.max",
            "findings.examples",
            "pairs.count",
        ):
            assert (value(of, name) is not None) == known, name


def test_right_answers_are_of_a_sample_only_where_not_all_were_looked_at() -> None:
    guess = Score(2.3, 0.1)
    for looked, of, words in (
        (600, 600, "of all 600 examples, b"),
        (1024, 5000, "of a sample of 1,024 of 5,000 examples, b"),
    ):
        look = Look(looked, of, {}, 10, guess, guess, {"a": guess, "b": Score(0.4, 0.9)}, ())
        found = measure(replace(make_case(), look=look))["accuracy.last"]
        assert (found.value, found.words) == (0.9, words)


def test_losses_are_those_of_a_plain_mean() -> None:
    case = make_case()
    means = case.trace.losses.astype(np.float64).mean(axis=1)
    for name, expected in {
        "loss.first": means[0],
        "loss.last": means[-1],
        "loss.min": means.min(),
        "loss.max": means.max(),
        "loss.rise.max": np.diff(means).max(),
    }.items():
        assert value(case, name) == pytest.approx(expected, rel=1e-12)
    assert value(case, "trace.checkpoints") == 41
    assert value(case, "trace.examples") == 24
    assert value(case, "trace.not_finite") == 0


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_one_loss_that_is_not_finite_leaves_no_loss_to_pass_a_gate(bad: float) -> None:
    losses = make_case().trace.losses.copy()
    losses[-1, 3] = bad
    case = with_losses(make_case(), losses)
    for name in ("loss.last", "loss.max", "loss.min", "loss.rise.max", "spikes.count", "spikes.rise.max"):
        assert value(case, name) is None
        assert "finite" in measure(case)[name].words
    assert value(case, "trace.not_finite") == 1


def test_findings_are_those_that_the_report_calls_so() -> None:
    case = make_case(pairs=2, examples=48)
    assert case.mining is not None
    one, other = case.mining.pairs
    weak = replace(other, finding=False)
    strong = replace(one, finding=True, opposition=replace(one.opposition, value=0.25))
    case = replace(case, mining=replace(case.mining, pairs=(weak, strong)))
    assert value(case, "findings.count") == 1
    assert value(case, "pairs.count") == 2
    assert value(case, "opposition.max") == 0.25
    assert value(case, "findings.energy.max") == one.evidence["share_of_loss_change"].value
    members = set(one.first.ids.tolist()) | set(one.second.ids.tolist())
    assert value(case, "findings.examples") == len(members) / 48


def test_pairs_that_were_not_tested_are_no_findings_and_not_none_either() -> None:
    case = make_case()
    assert case.mining is not None
    untested = replace(case.mining.pairs[0], evidence={}, finding=None)
    case = replace(case, mining=replace(case.mining, pairs=(untested,)))
    for name in ("findings.count", "findings.energy.max", "opposition.max", "findings.examples"):
        assert value(case, name) is None
        assert "not tested" in measure(case)[name].words
    empty = replace(case, mining=replace(case.mining, pairs=()))  # type: ignore[type-var]
    assert value(empty, "findings.count") == value(empty, "opposition.max") == 0
    assert value(replace(case, mining=None), "findings.count") is None


def test_the_largest_ratio_is_over_all_points_that_were_measured() -> None:
    case = measured(point(0, 0.5), point(20, 1.75), point(40, 1.25))
    assert value(case, "sharpness.ratio.max") == 1.75
    assert value(case, "sharpness.ratio.last") == 1.25
    assert value(case, "sharpness.max") == 1.75 * 25
    assert value(case, "sharpness.last") == 1.25 * 25
    assert "step 20, of 3 of 41" in measure(case)["sharpness.ratio.max"].words


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (point(20, 9.0, converged=False), "did not converge"),
        (point(20, None, reason="no ratio: no second moments"), "no second moments"),
        (point(20, NAN, eigenvalues=(NAN,)), "no ratio"),
        (point(20, 9.0, step_check=StepCheck("contradicted")), "contradict"),
    ],
)
def test_a_point_without_a_ratio_of_its_own_leaves_no_largest_one(bad: SharpnessPoint, why: str) -> None:
    sound = point(0, 0.5, step_check=StepCheck("confirmed"))
    found = measure(measured(sound, bad, point(40, 1.25)))
    assert found["sharpness.ratio.max"].value is None
    assert why in found["sharpness.ratio.max"].words
    assert found["sharpness.ratio.last"].value == 1.25


def test_the_last_one_is_that_of_the_last_checkpoint_and_no_earlier_one() -> None:
    found = measure(measured(point(0, 0.5), point(39, 1.25)))
    assert found["sharpness.ratio.last"].value is None
    assert "--steps 40:40" in found["sharpness.ratio.last"].words


def test_ratios_of_batches_and_of_updates_are_their_own() -> None:
    case = measured(point(0, 0.5, batch_ratio=0.75), point(40, 0.5, batch_ratio=1.5))
    quick = tuple(
        CriticalSharpness(s, 1.0, 1.0, 2.0, r, 0.0, "gradient", 5, 0) for s, r in ((0, 0.1), (40, 0.9))
    )
    case = replace(case, critical=quick)
    assert value(case, "sharpness.batch_ratio.max") == 1.5
    assert value(case, "critical.ratio.max") == value(case, "critical.ratio.last") == 0.9
    lost = replace(case, critical=(*quick[:1], replace(quick[1], ratio=None, reason="no rise")))
    assert value(lost, "critical.ratio.max") is None


def test_values_of_some_examples_say_so_beside_the_gate() -> None:
    for examples, said in ((8, True), (None, False)):
        case = measured(point(0, 0.5, examples=examples), point(40, 0.5, examples=examples))
        for name in ("sharpness.ratio.max", "sharpness.last"):
            assert ("on 8 random examples" in measure(case)[name].words) is said


def test_spikes_are_those_of_the_case() -> None:
    case = make_case()
    assert value(case, "spikes.count") == 1
    assert value(case, "spikes.rise.max") == case.spikes[0].rise
    two = replace(case, spikes=(*case.spikes, Spike(30, 31, 7.5, {}, "divergence")))
    assert value(two, "spikes.rise.max") == 7.5
    assert value(two, "spikes.divergences") == 1
    assert value(replace(case, spikes=()), "spikes.rise.max") == 0


def test_few_checkpoints_show_no_spike_and_none_is_not_said_of_them() -> None:
    short = replace(make_case(checkpoints=4), spikes=())
    assert value(short, "spikes.count") is None
    assert "needs 6" in measure(short)["spikes.count"].words


def test_what_a_trace_says_besides() -> None:
    case = make_case()
    assert value(case, "trace.failed") is None
    assert value(replace(case, failed={}), "trace.failed") == 0
    assert value(replace(case, failed={"a.pt": "torn"}), "trace.failed") == 1
    empty = np.zeros((41, 0))
    virtual = VirtualSteps(case.trace.steps, *np.linspace(0, 0.75, 3 * 41).reshape(3, 41), *(empty,) * 4)
    assert value(replace(case, virtual=virtual), "interference.max") == virtual.interference.max()
    log = AgainstLog("log.csv", "loss", (0, 10), (2.0, 1.0), (2.25, 1.125), (3.0, 3.0))
    assert value(replace(case, training_log=log), "log.gap.max") == 0.25
    assert value(replace(case, training_log=replace(log, logged=(2.0, NAN))), "log.gap.max") is None


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_unit_a_definition_and_of_a_bare_case_a_number_or_a_reason(name: str) -> None:
    metric = METRICS[name]
    assert metric.unit
    assert metric.definition.endswith(".")
    bare = replace(make_case(), mining=None, spikes=(), sharpness=())
    for case in (bare, make_case(), make_case(checkpoints=2)):
        found = metric.of(case)
        assert found.value is not None or found.words
        assert found.value is None or np.isfinite(found.value)


@pytest.mark.parametrize("sense", ["fail-on", "require"])
@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
def test_what_was_not_measured_trips_every_gate(sense: str, sign: str) -> None:
    case = replace(make_case(), mining=None)
    gate = Gate(read_condition(f"findings.count {sign} 3", sense), "here")
    (result,) = judge([gate], measure(case), None)
    assert result.tripped
    assert not result.measured
    assert "was not measured: nothing was mined" in result.words


@pytest.mark.parametrize("old", [{}, {"loss.last": None}])
def test_a_baseline_without_the_number_trips(old: dict[str, None]) -> None:
    gate = Gate(read_condition("loss.last <= baseline * 9", "require"), "here")
    (result,) = judge([gate], measure(make_case()), old)
    assert result.tripped
    assert not result.measured


def test_results_of_other_choices_are_another_quantity_for_the_metrics_of_their_command_alone() -> None:
    here = Likeness("", "ce", "step", ("mine", "sharpness", "sharpness --quick"))
    other = replace(here, results=("mine", "sharpness --batch-norm fixed", "sharpness --quick"))
    apart = {name for name in METRICS if here.apart(name, other)}
    assert apart == {name for name in METRICS if name.startswith("sharpness.")}
    assert here.unlike(other) == ["it shows 'sharpness --batch-norm fixed', here it is 'sharpness'"]
    for fewer in (("mine",), ()):  # what is not there has no number either
        assert not here.unlike(replace(here, results=fewer))
    assert all(here.apart(name, replace(here, unit="epoch")) for name in METRICS)
    gate = Gate(read_condition("loss.last < baseline", "require"), "here")
    (result,) = judge([gate], measure(make_case()), {"loss.last": 1e9}, lambda _: "it is of other data")
    assert result.tripped
    assert not result.measured


def test_a_bound_that_is_not_finite_trips() -> None:
    gate = Gate(read_condition("loss.last <= baseline * 1e308", "require"), "here")
    (result,) = judge([gate], measure(make_case()), {"loss.last": 1e9})
    assert result.tripped
    assert result.words == "the bound baseline * 1e+308 is not a finite number"


@pytest.mark.parametrize(("bound", "tripped"), [(1.0, True), (5.0, False)])
def test_fail_on_trips_where_it_is_true_and_require_where_it_is_not(bound: float, tripped: bool) -> None:
    found = measure(measured(point(40, 2.0)))
    for text, sense in (
        (f"sharpness.ratio.max > {bound}", "fail-on"),
        (f"sharpness.ratio.max <= {bound}", "require"),
    ):
        (result,) = judge([Gate(read_condition(text, sense), "here")], found, None)
        assert result.tripped is tripped

"""The report says in one place what training did otherwise, and how the logged loss compares."""

from __future__ import annotations

from dataclasses import replace

from reporting_case import make_case, show

from opsigcli.commands.report import summary
from opsigcli.outcome import plain
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report
from opsigcli.sharpness_records import SharpnessPoint, StepCheck
from opsigcli.training_records import AgainstLog, RecordedFact

SMOOTHED = RecordedFact(
    "label smoothing", "0.1", "args.yaml: smoothing", "labels were mixed", "--loss 'ce?label_smoothing=0.1'"
)
MATCHED = RecordedFact("class weights", "1, 2", "ckpt.pt: crit.weight", "classes were weighed", matched=True)
HOSTILE = RecordedFact("dropout", "<script>[bold]", "a.yaml: drop", "units were left out")
LOG = AgainstLog(
    "events.1", "train/loss", tuple(range(1, 101)), (1.0,) * 100, (2.0,) * 100, (0.5,) * 100, "below",
    "the traced is low", ("b.wandb: it is cut off",),
)  # fmt: skip


def test_terminal_html_and_json_tell_the_same_facts_with_what_to_give() -> None:
    case = replace(make_case(), sharpness=(), recorded_facts=(SMOOTHED, MATCHED, HOSTILE), training_log=LOG)
    result = summary(case)
    shown, page = show(render_report(case), width=100), render_html(case, result)
    for text in (shown, page):
        assert "Training beside the trace" in text
        for part in (
            "args.yaml: smoothing",
            "labels were mixed",
            "The traced is low.",
            "b.wandb: it is cut off",
        ):
            assert part in text
        assert text.count("matched: the trace has it too") == 1
    assert "give: --loss 'ce?label_smoothing=0.1'" in shown
    assert "<script>[bold]" in shown
    assert "&lt;script&gt;[bold]" in page
    names = [fact["name"] for fact in plain(result["recorded_facts"])]
    assert names == ["label smoothing", "class weights", "dropout"]
    assert plain(result["training_log"])["verdict"] == "below"


def test_of_many_checkpoints_the_terminal_shows_some_from_first_to_last() -> None:
    shown = show(render_report(replace(make_case(), training_log=LOG)), width=100)
    rows = [line.split() for line in shown.splitlines() if line.split()[1:] == ["1.00", "2.00", "0.500"]]
    assert [row[0] for row in rows] == ["1", "21", "41", "60", "80", "100"]


def test_steps_that_the_weights_contradict_are_a_fact() -> None:
    check = StepCheck("contradicted", "the weights moved as by label smoothing of 0.1", 0.3, 0.9, 0.01)
    points = tuple(
        SharpnessPoint(step, (1.0,), (0.0,), True, 3, 2.0, 0.5, step_check=check) for step in (5, 10, 15)
    )
    (fact,) = plain(summary(replace(make_case(), sharpness=points))["recorded_facts"])
    assert fact["found_in"] == "the weights at step 5 and at 2 more"
    assert "label smoothing of 0.1" in fact["effect"]


def test_a_case_without_log_and_facts_has_no_such_part() -> None:
    case = replace(make_case(), sharpness=())
    assert "Training beside the trace" not in show(render_report(case))
    assert 'id="training"' not in render_html(case, summary(case))

"""A ratio to a threshold that the weights contradict stands nowhere as if it held."""

from __future__ import annotations

import io
from dataclasses import replace

from reporting_case import make_case
from rich.console import Console

from opsigcli.comparison.compare import _run
from opsigcli.exporting.logs import scalars
from opsigcli.gates.metrics import measure
from opsigcli.records import Case
from opsigcli.reporting.charts.sharpness import sharpness_charts
from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.screen import ratio_plot
from opsigcli.reporting.summary import UNLIKE
from opsigcli.reporting.terminal import render_sharpness
from opsigcli.sharpness_records import SharpnessPoint, StepCheck, contradicted, marked


def points(*verdicts: str) -> tuple[SharpnessPoint, ...]:
    """A point with a ratio of 1.5 for each verdict, 10 steps apart."""
    return tuple(
        SharpnessPoint(10 * i, (37.5,), (1e-4,), True, 9, 25.0, 1.5, step_check=StepCheck(verdict))
        for i, verdict in enumerate(verdicts)
    )


UNLIKE_ONCE = points("contradicted", "cannot be told", "confirmed")
NOWHERE = points("contradicted", "cannot be told")
SOUND = points("confirmed", "cannot be told")


def case_of(of: tuple[SharpnessPoint, ...]) -> Case:
    return replace(make_case(), sharpness=of)


def printed(*parts: object) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(*parts)
    return console.export_text()


def test_where_no_step_confirms_the_threshold_one_that_is_contradicted_somewhere_holds_nowhere() -> None:
    assert contradicted(UNLIKE_ONCE) == {0}
    assert contradicted(NOWHERE) == {0, 10}
    assert contradicted(SOUND) == frozenset()
    assert [p.ratio_contradicted for p in marked(UNLIKE_ONCE)] == [True, False, False]
    assert [p.ratio_contradicted for p in marked(NOWHERE)] == [True, True]
    assert not any(p.ratio_contradicted for p in marked([replace(p, ratio=None) for p in NOWHERE]))


def test_tables_mark_it_and_say_what_the_mark_means() -> None:
    shown = printed(*render_sharpness(UNLIKE_ONCE))
    assert shown.count(f"1.50{UNLIKE}") == 1
    assert f"{UNLIKE} the weights contradict the threshold" in shown
    assert UNLIKE not in printed(*render_sharpness(SOUND))


def test_charts_draw_it_hollow_mark_it_and_do_not_count_it() -> None:
    (figure,) = sharpness_charts(Sheet(case_of(UNLIKE_ONCE)))
    assert [row[4] for row in figure.rows] == [f"1.50{UNLIKE}", "1.50", "1.50"]
    assert "2 of 3 points are at or above" in figure.svg
    assert "points are at or above" not in sharpness_charts(Sheet(case_of(NOWHERE)))[0].svg
    plot = ratio_plot(case_of(UNLIKE_ONCE))
    assert plot is not None
    assert "contradicted by the weights" in printed(plot)
    sound = ratio_plot(case_of(SOUND))
    assert sound is not None
    assert "contradicted" not in printed(sound)


def test_logs_and_comparisons_have_no_such_ratio() -> None:
    tags = [(tag, step) for tag, step, _ in scalars(case_of(UNLIKE_ONCE)) if "ratio" in tag]
    assert tags == [("sharpness/ratio_contradicted", 0), ("sharpness/ratio", 10), ("sharpness/ratio", 20)]
    assert _run(case_of(UNLIKE_ONCE), "A", {}, make_case().trace.example_ids[:0]).ratio_steps == (10, 20)


def test_gates_take_none_at_checkpoints_of_which_nothing_can_be_told_either() -> None:
    case = case_of(NOWHERE)
    end = int(case.trace.steps[-1])
    case = replace(case, sharpness=(*NOWHERE[:1], replace(NOWHERE[1], step=end, batch_ratio=1.2)))
    metrics = measure(case)
    for name in ("sharpness.ratio.max", "sharpness.ratio.last", "sharpness.batch_ratio.max"):
        assert metrics[name].value is None
        assert "contradict" in metrics[name].words
    assert metrics["sharpness.contradicted"].value == 1

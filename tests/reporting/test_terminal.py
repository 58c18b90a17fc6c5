"""What commands show in a terminal fits, is complete, and cannot be steered by the data."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from reporting_case import HOSTILE, make_case, show, with_losses
from rich.cells import cell_len

from opsigcli.mining_records import (
    Evidence,
    Group,
)
from opsigcli.records import Case
from opsigcli.reporting import RENDERERS
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.terminal import render_mining, render_report, render_sharpness, render_trace
from opsigcli.reporting.textplot import TextPlot, sparkline
from opsigcli.sharpness_records import CriticalSharpness

CRITICAL = (
    CriticalSharpness(4, 1.234e5, 0.11, 25.0, 0.72, 0.01, "next checkpoint", 6, 0),
    CriticalSharpness(8, None, None, 2.5e-7, None, None, "gradient", 9, 1, "not found: the loss rises"),
)
VIEWS = {
    "opsig/trace": lambda case: case.trace,
    "opsig/mine": lambda case: case,
    "opsig/quick-sharpness": lambda case: replace(case, critical=CRITICAL),
    "opsig/sharpness": lambda case: case,
    "opsig/report": lambda case: case,
    "opsig/store": lambda case: case,
}


def wide_case() -> Case:
    """Long class names, large numbers and many pairs."""
    case = make_case(
        examples=60, every=1000, pairs=4, classes=tuple(f"a rather long class name {i}" for i in range(8))
    )
    assert case.mining is not None
    pair = case.mining.pairs[0]
    pair = replace(
        pair,
        first=Group(pair.first.ids, {f"another quite long name {i}": 1234 for i in range(6)}),
        opposition=Evidence(1234.5678, -1234.5678),
    )
    return replace(case, mining=replace(case.mining, pairs=(pair, *case.mining.pairs[1:])))


def test_there_is_a_renderer_for_the_view_of_every_command() -> None:
    # A folder, what would be done with it, and several runs are no views of a case: tests of their own show them.
    assert set(RENDERERS) == set(VIEWS) | {"opsig/inspect", "opsig/plan", "opsig/comparison"}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("schema", VIEWS)
def test_every_view_fits_the_terminal(schema: str, width: int) -> None:
    for case in (make_case(), wide_case()):
        lines = show(RENDERERS.load(schema)(VIEWS[schema](case)), width).splitlines()
        assert len(lines) > 5
        assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("schema", VIEWS)
def test_every_view_draws_in_plain_ascii_where_it_must(schema: str) -> None:
    text = show(RENDERERS.load(schema)(VIEWS[schema](make_case())), 80, "ascii")
    assert re.search(r"\|.*[*o]", text) or schema in ("opsig/mine", "opsig/store", "opsig/quick-sharpness")


def test_the_report_tells_the_whole_case() -> None:
    text = show(render_report(make_case()))
    for words in (
        "One pair of opposing groups was found", "mlp?hidden=8", "Mean loss, nats", "1 spike marked below", "\u25b2",
        "Sharpness", "stability threshold", "\u25cb not converged", "opposing outliers", "gradient cosine",
        "Spikes of the mean loss", "Top loss deltas", "Checkpoints are few.",
    ):  # fmt: skip
        assert words in text


def test_the_pair_table_holds_evidence_beside_its_null() -> None:
    case = make_case()
    assert case.mining is not None
    lines = show(render_mining(case.mining, case.run.classes, trace=case.trace)).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("1 "))
    assert re.split(r"\s{2,}", lines[row].strip()) == [
        "1",
        "\u25b2 4: cat ×2, dog ×1, frog ×1",
        "0.60",
        "-0.92",
        "50%",
    ]
    assert re.split(r"\s{2,}", lines[row + 1].strip()) == [
        "\u25bc 4: dog ×2, frog ×1, cat ×1",
        "null 0.10",
        "null -0.32",
        "of 25% data",
    ]


def test_mining_shows_every_top_example_it_kept_with_its_label() -> None:
    case = make_case()
    assert case.mining is not None
    lines = show(render_mining(case.mining, case.run.classes, trace=case.trace)).splitlines()
    head = next(i for i, line in enumerate(lines) if "up: id" in line)
    rows = [line.split() for line in lines[head + 2 : head + 7]]
    assert all(len(row) >= 3 for row in rows)  # all losses fall at that step: nobody's went up
    labels = dict(zip(case.trace.example_ids.tolist(), case.trace.labels.tolist(), strict=True))
    assert [row[1] for row in rows] == [case.run.classes[labels[int(row[0])]] for row in rows]


def test_mining_alone_needs_neither_trace_nor_classes() -> None:
    mining = make_case().mining
    assert mining is not None
    assert "opposing outliers" in show(render_mining(mining))


def test_nothing_found_is_said_with_what_was_looked_at() -> None:
    case = make_case(pairs=0)
    assert case.mining is not None
    text = show(render_mining(replace(case.mining, spikes=(), top=())))
    assert "No pair of opposing groups was found. Looked at: 24 candidate examples" in text
    assert "steps 8, 16" in text
    assert "No spike" in text
    assert "run opsig mine" in show(RENDERERS.load("opsig/mine")(replace(case, mining=None)))
    assert "not measured" in show(render_sharpness(()))


def test_text_from_data_is_neither_markup_nor_control() -> None:
    evil = f"{HOSTILE}\x1b[31m\x9b2J"
    case = make_case(classes=(evil, "[red]dog[/red]", "frog"))
    assert case.mining is not None
    pair = replace(case.mining.pairs[0], verdict=evil, reasons=(evil,))
    run = replace(case.run, model=evil, data="[/nonsense]")
    text = show(
        render_report(replace(case, run=run, mining=replace(case.mining, pairs=(pair,), notes=(evil,))))
    )
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "[bold]" in text
    assert "[/nonsense]" in text


def test_missing_parts_of_a_case_are_left_out() -> None:
    case = make_case()
    bare = replace(case, mining=None, sharpness=(), thumbnails=None, provenance={})
    assert "Sharpness was not measured" in show(render_report(bare))
    for tiny in (make_case(checkpoints=2, examples=6), make_case(checkpoints=2, examples=3, pairs=0)):
        assert "checkpoints" in show(render_report(tiny))


def test_losses_that_are_not_finite_are_said_and_leave_blanks() -> None:
    case = make_case()
    losses = case.trace.losses.copy()
    losses[30:] = np.nan
    text = show(render_trace(with_losses(case, losses).trace))
    assert "not a finite number at 11 of 41 checkpoints" in text
    assert "41 of 41" in show(render_report(with_losses(case, losses * np.nan)), 60)


def test_the_sharpness_table_lists_every_point_and_the_report_thins_it() -> None:
    case = make_case(checkpoints=401)
    points = case.sharpness
    listed = re.findall(r"^ *(\d+) +[\d.]+ +[\d.]+ +(yes|no) ", show(render_sharpness(points)), flags=re.M)
    assert [int(step) for step, _ in listed] == [point.step for point in points]
    assert [step for step, converged in listed if converged == "no"] == ["8"]
    assert "12 of 101 points are shown" in show(render_report(case))


def test_a_text_curve_runs_from_corner_to_corner() -> None:
    plot = TextPlot(Scale(0, 10), Scale(0, 1), 4, "t")
    plot.curve(np.arange(11), np.linspace(1, 0, 11))
    rows = [line[8:] for line in show([plot], 29).splitlines()[1:5]]
    assert ord(rows[0][0]) & 0x01
    assert ord(rows[3][19]) & 0x80
    # 20 columns over 4 rows; a column also holds the value at its right edge, where the next row begins.
    assert [len(row) - len(row.lstrip()) for row in rows] == [0, 4, 9, 14]


def test_a_text_curve_shows_a_swing_within_one_column_as_a_bar() -> None:
    plot = TextPlot(Scale(0, 999), Scale(0, 1), 3, "t")
    plot.curve(np.arange(1000), np.arange(1000) % 2.0)
    rows = [line[8:] for line in show([plot], 29).splitlines()[1:4]]
    assert rows == ["\u28ff" * 20] * 3


def test_text_points_stand_at_their_step_and_value() -> None:
    plot = TextPlot(Scale(0, 20), Scale(0, 4), 4, "t")
    plot.points([0, 20], [3.5, 0.5], ["\u25cf", "\u25cb"], "")
    rows = [line[8:] for line in show([plot], 29).splitlines()[1:5]]
    assert rows[0].index("\u25cf") == 0
    assert rows[3].index("\u25cb") == 19


def test_a_sparkline_goes_from_the_lowest_to_the_highest_block() -> None:
    values = np.array([0.0, 1.0, np.nan, 0.5])
    assert sparkline(values, Scale(0, 1)) == "\u2581\u2588 \u2585"


def test_evidence_about_a_feature_is_shared_whatever_it_is_called() -> None:
    case = make_case()
    assert case.mining is not None
    said = {
        "anything": Evidence(0.9, 0.6, 0.005, "members by FEATURE", "brightness"),
        "led by nothing": Evidence(0.7, 0.5, 0.01),
    }
    pairs = tuple(replace(pair, evidence=said) for pair in case.mining.pairs)
    text = show(render_mining(replace(case.mining, pairs=pairs)))
    assert "shared: anything 0.90 (null 0.60, p 0.005)" in text
    assert "led by nothing" not in text

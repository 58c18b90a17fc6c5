"""The figure for a paper: what it draws is what the store holds, and it needs nothing where it is opened."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from reporting_case import make_case, with_losses
from store_case import write_everything

from opsigcli.commands.report import report
from opsigcli.errors import ReportError, UsageError
from opsigcli.options import ReportOptions
from opsigcli.progress import NoProgress
from opsigcli.reporting.figure import KINDS, draw_figure, rising
from opsigcli.reporting.scales import apart
from opsigcli.reporting.window import busy


def test_the_share_of_examples_that_rise_is_that_of_a_loop() -> None:
    case = make_case()
    losses = case.trace.losses.copy()
    losses[3, 5] = np.nan
    losses[7] = np.nan
    case = with_losses(case, losses)
    expected = []
    for before, after in pairwise(losses):
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if np.isfinite(a) and np.isfinite(b)]
        expected.append(sum(b > a for a, b in pairs) / len(pairs) if pairs else np.nan)
    np.testing.assert_allclose(rising(case.trace), expected)


def test_examples_that_do_not_count_do_not_rise() -> None:
    trace = make_case().trace
    counted = np.arange(len(trace.example_ids)) < 3
    few = replace(trace, measured=counted)
    np.testing.assert_array_equal(
        rising(few), [(np.diff(trace.losses, axis=0)[t, :3] > 0).mean() for t in range(40)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_is_of_its_width_holds_its_letters_and_is_the_same_each_time(kind: str) -> None:
    pytest.importorskip("matplotlib")
    drawn, missing = draw_figure(make_case(), kind, 3.3)
    assert missing == []
    assert drawn == draw_figure(make_case(), kind, 3.3)[0]
    if kind == ".svg":
        assert '<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="237.6pt"' in drawn.decode()
        assert "<text" not in drawn.decode()
        assert drawn.decode().count('id="axes_') == 4
    elif kind == ".pdf":
        assert b"/FontFile2" in drawn
        width = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", drawn)
        assert width is not None
        assert float(width[1]) == pytest.approx(3.3 * 72, abs=0.1)
    else:
        assert int.from_bytes(drawn[16:20], "big") == 990


@pytest.mark.slow
def test_panels_that_a_case_lacks_are_said() -> None:
    pytest.importorskip("matplotlib")
    drawn, missing = draw_figure(replace(make_case(pairs=0), sharpness=()), ".svg", 6.8)
    assert drawn.decode().count('id="axes_') == 2
    assert missing == ["no group losses: no pair was mined", "no stability ratio: run opsig sharpness"]


@pytest.mark.slow
def test_the_command_writes_it_and_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    store = tmp_path / "s.h5"
    write_everything(store)
    done = report(ReportOptions(figure=tmp_path / "f.pdf", store=store), NoProgress())
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert done.view is None
    assert done.result["figure"] == str(tmp_path / "f.pdf")
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(ReportError, match="folder"):
        report(ReportOptions(figure=tmp_path / "folder.pdf", store=store), NoProgress())


def test_another_ending_is_refused() -> None:
    for kind in ("", ".jpg"):
        with pytest.raises(UsageError, match=r"\.pdf, \.png, \.svg"):
            draw_figure(make_case(), kind, 3.3)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ReportError) as found:
        draw_figure(make_case(), ".svg", 3.3)
    assert "opsig[figure]" in found.value.hint


def test_points_much_further_apart_than_the_others_are_not_joined() -> None:
    steps = np.array([0, 5, 10, 15, 100, 105])
    x, y = apart(steps, np.arange(6.0))
    np.testing.assert_array_equal(x, [0, 5, 10, 15, 57.5, 100, 105])
    np.testing.assert_array_equal(y, [0, 1, 2, 3, np.nan, 4, 5])
    dense = np.array([*range(0, 200, 10), *range(201, 210)])  # more points around a spike
    assert not np.isnan(apart(dense, np.zeros(len(dense)))[1]).any()
    assert not np.isnan(apart(np.array([0, 90]), np.zeros(2))[1]).any()


def test_the_window_holds_where_the_curves_swing_and_every_spike() -> None:
    steps = np.arange(0, 2000, 10)
    curve = np.exp(-steps / 500.0)
    curve[60:90] += 0.3 * (-1.0) ** np.arange(30)
    low, high = busy(steps, [curve])
    assert 500 <= low <= 600
    assert 890 <= high <= 1000
    assert busy(steps, [curve], [1500])[1] >= 1500
    assert busy(steps, [np.exp(-steps / 500.0)]) == (0, 1990)
    assert busy(steps[:1], [curve[:1]]) == (0, 0)
    assert busy(steps, [np.full(200, np.nan)]) == (0, 1990)

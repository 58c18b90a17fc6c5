"""What the explorer holds: every member, curves to the precision that is said, and no more bytes than are said."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reporting_case import HOSTILE, make_case, with_losses

from opsigcli.records import Case, ExampleCurvature
from opsigcli.reporting import explorer as explorer_module
from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.explorer import LETTERS, explorer, kept_rows, packed
from opsigcli.reporting.html import render_files, render_html
from opsigcli.reporting.pictures import Album


def unpacked(curve: Any) -> list[float]:
    """The values that the page's script reads."""
    low, high, text = curve
    levels = [64 * LETTERS.index(a) + LETTERS.index(b) for a, b in zip(text[::2], text[1::2], strict=True)]
    return [math.nan if level == 4095 else low + (high - low) * level / 4094 for level in levels]


def held(case: Case) -> dict[str, Any]:
    return explorer(case, Sheet(case), Album(case.thumbnails))["data"]


@given(st.lists(st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan), st.just(math.inf)), max_size=60))
def test_a_packed_curve_is_within_half_a_level_of_itself(values: list[float]) -> None:
    curve = np.array(values)
    read = np.array(unpacked(packed(curve)))
    finite = np.isfinite(curve)
    assert (np.isfinite(read) == finite).all()
    if finite.any():
        room = (curve[finite].max() - curve[finite].min()) / 8188 + 1e-6 * np.abs(curve[finite]).max()
        assert np.abs(read - curve)[finite].max() <= room + 1e-30


def test_every_member_is_held_with_its_role_and_its_curve() -> None:
    case = make_case(pairs=2)
    assert case.mining is not None
    data = held(case)
    rows = {row[0]: row for row in data["examples"]}
    for number, pair in enumerate(case.mining.pairs, start=1):
        for side, group in pair.groups.items():
            for example in group.ids.tolist():
                row = rows[str(example)]
                assert f"pair {number}, {side} group" in [data["roles"][role]["words"] for role in row[3]]
                column = case.trace.losses[:, case.trace.positions(np.array([example]))[0]]
                np.testing.assert_allclose(unpacked(row[7]), column, atol=np.ptp(column) / 8000)
                deltas = np.diff(column.astype(float))
                assert row[4] == pytest.approx(column[-1], rel=1e-3)
                assert row[5] == pytest.approx(deltas[np.abs(deltas).argmax()], rel=1e-3)
    np.testing.assert_allclose(unpacked(data["mean"]), case.trace.mean_losses, atol=1e-3)


def test_curvature_is_shown_where_it_was_measured() -> None:
    case = make_case()
    assert {row[6] for row in held(case)["examples"]} == {None}
    ids = case.trace.example_ids[3:9]
    known = replace(case, curvature=ExampleCurvature(16, ids, np.arange(6) / 7))
    rows = {row[0]: row[6] for row in held(known)["examples"]}
    assert [rows[str(example)] for example in ids] == pytest.approx((np.arange(6) / 7).tolist(), rel=1e-4)
    assert held(known)["sharpest"] == "16"
    assert 'data-key="curvature"' in render_html(known, {})
    assert 'data-key="curvature"' not in render_html(case, {})


def test_losses_that_are_no_number_are_gaps_and_never_numbers() -> None:
    case = make_case()
    losses = case.trace.losses.copy()
    losses[5, :4] = np.nan
    losses[6, 2] = np.inf
    losses[-1] = np.nan
    data = held(with_losses(case, losses))
    row = next(row for row in data["examples"] if row[0] == str(case.trace.example_ids[2]))
    assert np.isnan(unpacked(row[7]))[[5, 6, 40]].all()
    assert row[4] == pytest.approx(losses[-2, 2], rel=1e-3)
    nothing = held(with_losses(case, losses * np.nan))
    assert all(row[4] is row[5] is None for row in nothing["examples"])


def test_curves_keep_neighbours_where_they_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_rows(41, 24).tolist() == list(range(41))
    rows = kept_rows(6000, 2000)
    assert rows[0] == 0
    assert rows[-1] == 5999
    assert len(rows) <= 76
    assert all(int(row) + 1 in rows or int(row) - 1 in rows for row in rows)
    swing = 0.5 * (-1.0) ** np.arange(6000)
    assert np.abs(np.diff(swing[rows])).max() == 1
    monkeypatch.setattr(explorer_module, "IN_PAGE", replace(explorer_module.IN_PAGE, series=1_500))
    told = explorer(make_case(), Sheet(make_case()), Album(None))
    assert sum(len(row[7][2]) for row in told["data"]["examples"] if row[7]) <= 1_500
    assert told["data"]["examples"][-1][7] is None
    assert re.search(r"Curves of the first \d+ hold every checkpoint", told["words"])


def test_the_page_of_ten_pairs_is_below_two_megabytes_and_lists_all_members() -> None:
    case = make_case(checkpoints=400, examples=2000, pairs=10)
    assert case.mining is not None
    page = render_html(case, {"steps": case.trace.steps})
    assert len(page.encode()) < 2_000_000
    members = {int(i) for group in case.mining.groups.values() for i in group.ids}
    assert members <= {int(i) for i in re.findall(r'id="example-(\d+)"', page)}
    found = re.search(r'id="opsig-examples">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    assert members <= {int(row[0]) for row in json.loads(found[1])["examples"]}


def test_what_is_too_large_for_a_page_is_a_page_and_a_folder_that_hold_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explorer_module, "IN_PAGE", replace(explorer_module.IN_PAGE, listed=100, series=3000))
    monkeypatch.setattr(explorer_module, "PART_BYTES", 20_000)
    case = make_case(checkpoints=100, examples=1500, pairs=3)
    assert case.mining is not None
    page, files = render_files(case, {"steps": [1]}, "r_files")
    assert render_files(case, {"steps": [1]}, "") == (render_html(case, {"steps": [1]}), {})  # for a pipe
    assert set(re.findall(r"r_files/([\w.-]+)", page)) <= files.keys()
    for name, content in files.items():
        assert hashlib.sha256(content).hexdigest().startswith(name.rpartition(".")[0].rpartition("-")[2])
    (examples,) = (content.decode() for name, content in files.items() if name.startswith("examples-"))
    data = json.loads(examples.removeprefix("opsigExamples="))
    curves = [json.loads(files[at.partition("/")[2]].decode()[:-1].partition(",")[2]) for at in data["parts"]]
    assert len(curves) > 2
    members = {int(i) for group in case.mining.groups.values() for i in group.ids}
    assert members <= {int(row[0]) for row in data["examples"]}
    for row in data["examples"]:
        losses = case.trace.losses[:, case.trace.positions(np.array([int(row[0])]))[0]]
        np.testing.assert_allclose(unpacked(curves[row[7]][row[0]]), losses, atol=np.ptp(losses) / 8000)


@pytest.mark.slow
def test_ten_pairs_of_three_thousand_checkpoints_are_one_page_below_two_megabytes() -> None:
    page, files = render_files(make_case(checkpoints=3000, examples=2000, pairs=10), {}, "r_files")
    assert not files
    assert len(page.encode()) < 2_000_000


def test_places_of_examples_are_unique_and_names_stay_names() -> None:
    case = make_case(
        pairs=2, classes=(HOSTILE, "</script>", "frog"), names=tuple(f"{HOSTILE}{i}" for i in range(24))
    )
    page = render_html(case, {})
    places = re.findall(r' id="([^"]+)"', page)
    assert len(places) == len(set(places))
    assert HOSTILE not in page
    assert page.count("</script>") == 3

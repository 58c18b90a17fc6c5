"""The explorer in a browser: one view for all charts; examples found, sorted, opened by address and downloaded."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reporting_case import HOSTILE, make_case, with_losses
from watched_page import ADDRESS, CHROMIUM, Watched

from opsigcli.records import Case
from opsigcli.reporting.html import render_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]


def case() -> Case:
    """A long run of two pairs that swing, and names that mean to become formulas and markup."""
    return make_case(
        checkpoints=201,
        examples=36,
        pairs=2,
        classes=("=cat", HOSTILE),
        names=tuple(f"-{i}/a,b.png" for i in range(36)),
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(case(), {}), "utf-8")
    return path


def views(page: Any) -> set[str]:
    """The horizontal parts of the planes of all charts that share the axis of steps."""
    boxes = page.locator("main svg.chart[data-steps=both] svg.plane, header svg.plane").evaluate_all(
        "planes => planes.map(plane => plane.getAttribute('viewBox').split(' '))"
    )
    return {f"{float(x):.3f} {float(wide):.3f}" for x, _, wide, _ in boxes}


def test_a_drag_zooms_all_charts_alike_and_a_double_click_shows_the_whole_run(
    browser: Any, report: Path
) -> None:
    with Watched(browser, report, viewport={"width": 1280, "height": 900}) as watched:
        page = watched.page
        assert views(page) == {"0.000 1000.000"}
        before = page.locator("#figure-groups2 svg.chart .axes").inner_html()
        chart = page.locator("#figure-loss svg.chart")
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 80, steps=4)
        page.mouse.up()
        (view,) = views(page)
        start, wide = map(float, view.split())
        assert start == pytest.approx(250, abs=2)
        assert wide == pytest.approx(250, abs=3)
        assert page.locator("nav .zoom span").text_content() == "step 50 to 100"
        axis = page.locator("#figure-groups2 svg.chart .axes text").all_text_contents()
        assert {"60", "80"} <= set(axis)
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
        assert page.locator("text.cursor[visibility=visible]").first.text_content() == "step 70"
        page.mouse.dblclick(box["x"] + 100, box["y"] + 60)
        assert views(page) == {"0.000 1000.000"}
        assert page.locator("#figure-groups2 svg.chart .axes").inner_html() == before
        assert watched.problems == []


def test_values_fill_the_height_where_it_is_zoomed_and_stand_where_the_axis_says(
    browser: Any, report: Path
) -> None:
    losses = case().trace
    mean = losses.mean_losses
    with Watched(browser, report, viewport={"width": 1280, "height": 900}) as watched:
        page = watched.page
        page.evaluate("zoom(100, 160)")
        chart = page.locator("#figure-loss svg.chart")
        box = [float(part) for part in (chart.locator(".plane").first.get_attribute("viewBox") or "").split()]
        bottom, top, height = (
            float(chart.get_attribute(f"data-{name}") or "") for name in ("bottom", "top", "height")
        )
        seen = mean[100:161]
        ends = [bottom + (top - bottom) * (1 - y / height) for y in (box[1] + box[3], box[1])]
        assert ends[0] < seen.min() < seen.max() < ends[1]
        assert ends[1] - ends[0] < 1.4 * np.ptp(seen)
        for label in chart.locator(".axes text[text-anchor=end]").all():
            value = float((label.text_content() or "").replace("\u2212", "-"))
            if value < 10:
                place = (float(label.get_attribute("y") or "") - 4) / height
                assert ends[1] - place * (ends[1] - ends[0]) == pytest.approx(value, abs=2e-3)


def test_swings_are_an_envelope_from_afar_and_the_curve_from_near(browser: Any, report: Path) -> None:
    with Watched(browser, report, viewport={"width": 900, "height": 900}) as watched:
        page = watched.page
        near, far = (page.locator(f"#figure-groups1 .{name}").first for name in ("near", "far"))
        assert (near.is_visible(), far.is_visible()) == (False, True)
        page.evaluate("zoom(40, 80)")
        assert (near.is_visible(), far.is_visible()) == (True, False)


def test_the_page_opens_where_the_curves_swing(browser: Any, tmp_path: Path) -> None:
    still = case()
    losses = (
        np.repeat(still.trace.losses[:1], 201, axis=0) * np.linspace(2, 1, 201, dtype=np.float32)[:, None]
    )
    losses[100:130] += 0.3 * (-1.0) ** np.arange(30, dtype=np.float32)[:, None]
    path = tmp_path / "report.html"
    path.write_text(render_html(replace(with_losses(still, losses), spikes=(), sharpness=()), {}), "utf-8")
    with Watched(browser, path) as watched:
        low, high = map(int, (watched.page.locator("nav .zoom span").text_content() or "")[5:].split(" to "))
        assert 90 <= low <= 100
        assert 128 <= high <= 140
        watched.page.get_by_label("Whole run").first.click()
        assert watched.page.locator("nav .zoom span").text_content() == "step 0 to 200, whole run"


def test_an_entry_of_the_legend_hides_its_curve(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        toggle = page.locator("#figure-groups1 .legend button").first
        curve = page.locator("#figure-groups1 svg.chart > [data-series=first]")
        other = page.locator("#figure-groups2 svg.chart > [data-series=first]")
        toggle.click()
        assert toggle.get_attribute("aria-pressed") == "false"
        assert (curve.get_attribute("display"), other.get_attribute("display")) == ("none", None)
        toggle.click()
        assert curve.get_attribute("display") == "inline"


def test_examples_are_searched_filtered_and_sorted(browser: Any, report: Path) -> None:
    made = case()
    assert made.mining is not None
    with Watched(browser, report) as watched:
        page = watched.page
        place = page.locator("#explorer")
        ids = place.locator("tbody th a")
        place.locator("input").fill("-7/")
        assert ids.all_text_contents() == [str(made.trace.example_ids[7])]
        place.locator("input").fill("100")
        assert ids.all_text_contents() == ["100"]
        place.locator("input").fill("")
        place.locator("select").nth(1).select_option("pair 2,")
        place.locator("select").nth(2).select_option("second group")
        members = made.mining.pairs[1].second.ids
        assert sorted(map(int, ids.all_text_contents())) == sorted(members.tolist())
        place.locator("[data-key=loss]").click()
        last = dict(zip(made.trace.example_ids.tolist(), made.trace.losses[-1].tolist(), strict=True))
        assert list(map(int, ids.all_text_contents())) == sorted(members.tolist(), key=lambda i: -last[i])
        place.locator("[data-key=loss]").click()
        assert list(map(int, ids.all_text_contents())) == sorted(members.tolist(), key=lambda i: last[i])
        place.locator("select").nth(0).select_option(HOSTILE)
        assert set(place.locator("tbody td:nth-child(2)").all_text_contents()) == {HOSTILE}
        assert watched.problems == []


def test_rows_are_downloaded_as_they_are_and_never_as_formulas(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    made = case()
    with Watched(browser, report) as watched:
        page = watched.page
        page.locator("#explorer select").nth(1).select_option("pair 1,")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        download.value.save_as(tmp_path / "examples.csv")
        assert watched.problems == []
    with (tmp_path / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert made.mining is not None
    pair = made.mining.pairs[0]
    assert [int(row["example"]) for row in rows] == [*pair.first.ids.tolist(), *pair.second.ids.tolist()]
    column = dict(zip(made.trace.example_ids.tolist(), made.trace.losses[-1].tolist(), strict=True))
    for row in rows:
        assert float(row["loss"]) == pytest.approx(column[int(row["example"])], rel=1e-3)
        assert row["path"].startswith("'-")
        assert row["class"] in ("'=cat", HOSTILE)


def test_an_example_opens_by_its_address_with_its_curve(browser: Any, report: Path) -> None:
    made = case()
    with Watched(
        browser, report, address=f"{ADDRESS}#example-107", viewport={"width": 390, "height": 800}
    ) as watched:
        page = watched.page
        assert page.locator("dialog > p").text_content() == "example 107, -1/a,b.png, " + HOSTILE
        read = page.evaluate("curve(byId.get('107').series)")
        np.testing.assert_allclose(read, made.trace.losses[:, 1], atol=1e-3)
        box = page.locator("dialog").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        page.locator("dialog svg.chart").focus()
        page.keyboard.press("End")
        assert page.locator("dialog text.cursor").text_content() == "step 200"
        shown = page.locator("dialog b[data-column='1']").text_content()
        assert float(shown or "") == pytest.approx(made.trace.losses[-1, 1], rel=5e-3)
        page.keyboard.press("+")
        assert (
            page.locator("dialog .zoom span").text_content() == page.locator("nav .zoom span").text_content()
        )
        assert "whole run" not in (page.locator("nav .zoom span").text_content() or "")
        page.get_by_role("button", name="Close").click()
        page.wait_for_url(ADDRESS)  # a dialog says that it closed in a task of its own
        page.evaluate("location.hash = '#example-114'")
        page.wait_for_selector("dialog[open]")
        assert (page.locator("dialog > p").text_content() or "").startswith("example 114,")
        page.evaluate("dialog.close()")
        page.wait_for_url(ADDRESS)
        page.evaluate(
            """new Promise((done) => {
                 addEventListener('hashchange', () => setTimeout(done), { once: true });
                 location.hash = '#example-constructor';
               })"""
        )
        assert not page.locator("dialog").is_visible()
        assert watched.problems == []
        assert watched.outside() == []


def test_next_goes_through_the_rows_that_were_found(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        page.locator("#explorer [data-key=delta]").click()
        found = page.locator("#explorer tbody th a").all_text_contents()
        page.locator("#explorer tbody th a").nth(3).click()
        page.get_by_role("button", name="Next").click()
        page.wait_for_url(f"{ADDRESS}#example-{found[4]}")
        page.keyboard.press("Escape")
        page.wait_for_url(ADDRESS)
        assert page.evaluate("document.activeElement.textContent") == found[3]


def test_print_has_no_controls_and_splits_no_table(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        page.emulate_media(media="print")
        for gone in ("nav", "#examples", "#loss .zoom", ".others"):
            assert not page.locator(gone).first.is_visible()
        for kept in ("h2", "h3", ".labels"):
            styles = page.locator(kept).evaluate_all("all => all.map(e => getComputedStyle(e).breakAfter)")
            assert set(styles) == {"avoid"}
        assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) <= 8
        assert set(
            page.locator("table").evaluate_all("all => all.map(t => getComputedStyle(t).breakInside)")
        ) == {"avoid"}


def test_one_checkpoint_has_an_explorer_too(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(make_case(checkpoints=1, pairs=0), {}), "utf-8")
    with Watched(browser, path) as watched:
        watched.page.locator("#explorer tbody a").first.click()
        assert watched.page.locator("dialog svg.chart").is_visible()
        assert watched.problems == []

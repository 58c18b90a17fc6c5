"""The HTML report in a browser: no request, no error, no overflow, and all there with scripts off."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reporting_case import HOSTILE, make_case
from watched_page import CHROMIUM, Watched

from opsigcli.reporting.html import render_html

JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"

# Elements that answer to the pointer and not to the keyboard.
UNREACHED = """
Array.from(document.querySelectorAll('body *')).filter(e =>
  ['pointer', 'zoom-in', 'crosshair'].includes(getComputedStyle(e).cursor) && e.checkVisibility() &&
  !e.closest('a[href], button, input, select, summary, [tabindex="0"]')).map(e => e.outerHTML.slice(0, 80))
"""
# How many texts there are, and those whose contrast with what is behind them is below 4.5 (WCAG 2.1, 1.4.3).
CONTRAST = """
() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = (e) => {
    const beside = e.tagName === 'text' && e.closest('.shares') && e.previousElementSibling;
    if (beside) return parts(getComputedStyle(beside).fill);
    for (; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length === 3) return c;
    }
    return [255, 255, 255];
  };
  const faint = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('script, style, title, desc, template')) continue;
    const style = getComputedStyle(e), back = behind(e);
    let opacity = 1;
    for (let up = e; up; up = up.parentElement) opacity *= getComputedStyle(up).opacity;
    const own = parts(e.ownerSVGElement ? style.fill : style.color);
    const ink = own.map((v, i) => v * opacity + back[i] * (1 - opacity));
    const [a, b] = [light(ink), light(back)];
    texts += 1;
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (!(ratio >= 4.5)) faint.push([ratio, walker.currentNode.data.trim(), e.outerHTML.slice(0, 120)]);
  }
  return [texts, faint];
}
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    long = "a_very_long_class_name_without_any_break_" * 3
    case = make_case(
        pairs=2, classes=(HOSTILE, long, "frog"), names=tuple(f"{long}/{i}.png" for i in range(24))
    )
    case = replace(
        case, run=replace(case.run, data="folder:pics?mean=0.4914,0.4822,0.4465&std=0.247,0.2435,0.2616")
    )
    path.write_text(
        render_html(case, {"steps": case.trace.steps}, definitions={"opposition": "how much"}), "utf-8"
    )
    return path


def test_the_report_opens_without_a_request_or_a_complaint(browser: Any, report: Path) -> None:
    own = re.search(r'Content-Security-Policy" content="([^"]*)"', report.read_text("utf-8"))
    assert own is not None
    header = {"Content-Security-Policy": html.unescape(own[1])}  # as a server may send it
    with Watched(browser, report, header, viewport={"width": 1280, "height": 900}) as watched:
        assert watched.page.evaluate(UNREACHED) == []
        images = watched.page.evaluate(
            "Array.from(document.querySelectorAll('.tiles img'), image => image.naturalWidth)"
        )
        assert len(images) > 10
        assert set(images) == {6}
        assert (
            watched.page.evaluate("getComputedStyle(document.querySelector('.galleries')).display") == "grid"
        )
        assert watched.problems == []
        assert watched.outside() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_never_scrolls_sideways_and_all_its_text_stands_out(
    browser: Any, report: Path, scheme: str
) -> None:
    with Watched(browser, report, color_scheme=scheme) as watched:
        page = watched.page
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        for width in (360, 390, 768, 1024, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        texts, faint = page.evaluate(CONTRAST)
        assert texts > 300
        assert faint == []
        red = int(page.evaluate("getComputedStyle(document.body).backgroundColor")[4:].split(",")[0])
        assert (red < 100) is (scheme == "dark")


CLASSES = (
    "automobile",
    "golden_retriever",
    "sport utility vehicle",
    "Donaudampfschifffahrtsgesellschaft",
    "cat_" * 20 + "tail",
)
BROKEN_WORDS = """
Array.from(document.querySelectorAll('.tiles .label')).flatMap(label =>
  Array.from(label.childNodes).filter(node => node.nodeType === Node.TEXT_NODE).flatMap(node =>
    Array.from(node.data.matchAll(/\\S+/g)).filter(word => {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      return new Set(Array.from(range.getClientRects(), box => Math.round(box.top))).size > 1;
    }).map(word => word[0])))
"""


@pytest.mark.parametrize("width", [360, 1280])
def test_names_of_classes_break_between_words_and_their_titles_are_whole(
    browser: Any, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(make_case(examples=30, classes=CLASSES), {}), "utf-8")
    with Watched(browser, path, viewport={"width": width, "height": 800}) as watched:
        labels = watched.page.locator(".gallery .label")
        titles = labels.evaluate_all("labels => labels.map(label => label.title)")
        assert set(titles) == set(CLASSES)
        assert titles == labels.evaluate_all("labels => labels.map(label => label.textContent)")
        assert watched.page.evaluate(BROKEN_WORDS) == []
        heights = labels.evaluate_all("labels => labels.map(label => label.clientHeight)")
        assert max(heights) <= 3 * min(heights) + 2
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_there_with_scripts_off(browser: Any, report: Path) -> None:
    with Watched(
        browser, report, java_script_enabled=False, viewport={"width": 1280, "height": 900}
    ) as plain:
        without = [plain.page.locator(f"main > #{key}").inner_text() for key in ("steps", "pair-1", "spikes")]
        assert (
            "To search and filter them, scripts have to be allowed."
            in plain.page.locator("#examples").inner_text()
        )
        charts = [chart.bounding_box() for chart in plain.page.locator("svg.chart").all()]
        assert len(charts) == 8
        assert all(box and box["width"] > 300 and box["height"] > 100 for box in charts)
        assert plain.page.locator(".tiles img").first.is_visible()
        plain.page.locator("summary").first.click()
        assert plain.page.locator("details table").first.is_visible()
    with Watched(browser, report, viewport={"width": 1280, "height": 900}) as watched:
        shown = [watched.page.locator(f"main > #{key}").inner_text() for key in ("steps", "pair-1", "spikes")]
        assert [text.split() for text in shown] == [text.split() for text in without]


def test_charts_draw_under_a_policy_that_bars_style_sheets(browser: Any, report: Path) -> None:
    with Watched(
        browser, report, {"Content-Security-Policy": JENKINS}, viewport={"width": 1000, "height": 800}
    ) as watched:
        page = watched.page
        assert page.locator("h1").evaluate("element => getComputedStyle(element).fontFamily") == page.locator(
            "body"
        ).evaluate("element => getComputedStyle(element).fontFamily")  # the style sheet is indeed barred
        chart = page.locator("#figure-groups1 svg.chart")
        box = chart.bounding_box()
        assert box is not None
        assert box["width"] > 500
        assert box["x"] >= 40  # the figure's own margin holds the labels
        strokes = chart.evaluate(
            "svg => Array.from(svg.querySelectorAll('path'), p => getComputedStyle(p).stroke)"
        )
        assert {"rgb(184, 67, 10)", "rgb(28, 95, 174)"} <= set(strokes)
        assert set(watched.outside()) == set()


def test_one_crosshair_reads_every_chart_at_the_same_step(browser: Any, report: Path) -> None:
    with Watched(browser, report, viewport={"width": 1280, "height": 900}) as watched:
        page = watched.page
        page.locator("#figure-loss svg.chart").scroll_into_view_if_needed()
        box = page.locator("#figure-loss svg.chart").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        tags = page.locator("text.cursor[visibility=visible]").all_text_contents()
        assert tags == ["step 20"] * 6
        slots = page.locator("#figure-groups1 b[data-column]").all_text_contents()
        row = page.locator("#figure-groups1 tbody tr").nth(20).locator("td").all_text_contents()
        assert [row[0], *slots] == row
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] - 200)
        assert page.locator("text.cursor[visibility=visible]").count() == 0


def test_charts_are_read_with_the_keyboard(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        page.locator("#figure-loss svg.chart").focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        assert page.locator("#figure-loss text.cursor").text_content() == "step 39"
        assert page.locator("#status").text_content().startswith("step 39, mean loss ")
        page.keyboard.press("Escape")
        assert page.locator("text.cursor[visibility=visible]").count() == 0


def test_tables_sort_by_number_both_ways(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        figure = page.locator("#figure-loss")
        figure.locator("summary").click()
        losses = [float(text) for text in figure.locator("tbody td:nth-child(2)").all_text_contents()]
        for direction, expected in (
            ("ascending", sorted(losses)),
            ("descending", sorted(losses, reverse=True)),
        ):
            figure.locator("th button").nth(1).click()
            assert figure.locator("th").nth(1).get_attribute("aria-sort") == direction
            shown = [float(text) for text in figure.locator("tbody td:nth-child(2)").all_text_contents()]
            assert shown == expected
        figure.locator("th button").nth(0).click()
        assert figure.locator("th[aria-sort]").all_text_contents() == ["step"]


def test_pictures_open_large_and_are_leafed_through(browser: Any, report: Path) -> None:
    with Watched(browser, report) as watched:
        page = watched.page
        pictures = page.locator("#pair-1 .gallery.first .tiles img")
        pictures.first.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog img").bounding_box()["width"] > 200
        assert page.locator("dialog > p").text_content() == pictures.first.get_attribute("alt")
        page.keyboard.press("ArrowRight")
        assert page.locator("dialog > p").text_content() == pictures.nth(1).get_attribute("alt")
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="hidden")
        assert watched.problems == []

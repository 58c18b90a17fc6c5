"""The HTML report is one offline file that holds what the case holds, whatever the data are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from reporting_case import HOSTILE, SPIKE_AT, make_case, with_losses

from opsigcli.mining_records import (
    Evidence,
)
from opsigcli.outcome import plain
from opsigcli.records import Case, Provenance, Thumbnails
from opsigcli.reporting.galleries import top_ids
from opsigcli.reporting.html import render_html

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of some; fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def named(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every element of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def render(case: Case, **options: object) -> tuple[str, Page]:
    text = render_html(case, {"steps": case.trace.steps}, **options)  # type: ignore[arg-type]
    return text, Page(text)


def test_the_page_shows_what_the_case_holds() -> None:
    text, page = render(make_case(pairs=2), definitions={"opposition": "how much they oppose"})
    assert "Two pairs of opposing groups were found" in page.texts["h1"][0]
    figures = [attributes["id"] for attributes in page.named("figure")]
    assert figures == [
        "figure-loss",
        "figure-groups1",
        "figure-groups2",
        "figure-sharpness",
        "figure-close1",
        "figure-deltas1",
        "figure-close2",
        "figure-deltas2",
        "figure-example",
    ]
    assert "how much they oppose" in text
    assert "mlp?hidden=8" in text
    assert "opsig trace &#39;runs/my demo&#39;" in text
    assert "Checkpoints are few." in text
    assert "/data/runs" not in text  # what is given to others names no folder of this machine
    assert page.texts["title"][0] == "demo: opsig report"


def test_every_chart_has_a_title_a_description_a_table_and_one_step_axis() -> None:
    case = make_case()
    _, page = render(case)
    charts = [svg for svg in page.named("svg") if svg.get("class") == "chart" and "data-low" in svg]
    assert len(charts) == 5
    labelled = {
        attributes["id"] for tag in ("title", "desc") for attributes in page.named(tag) if "id" in attributes
    }
    for chart in charts:
        assert set(chart["aria-labelledby"].split()) <= labelled
    assert {(chart["data-low"], chart["data-high"]) for chart in charts[:3]} == {("0", "40")}
    assert [part.get("class") for part in page.named("details")].count("numbers") == len(charts)
    first = re.split("<tbody>|</tbody>", render(case)[0])[1]
    rows = [re.findall("<td>(.*?)</td>", row) for row in first.strip().splitlines()]
    assert [row[0] for row in rows] == [str(step) for step in case.trace.steps]
    assert float(rows[7][1]) == pytest.approx(case.trace.mean_losses[7], rel=1e-3)
    assert [i for i, row in enumerate(rows) if row[2].startswith("+")] == [SPIKE_AT + 1]


def test_the_same_case_gives_the_same_bytes() -> None:
    definitions = {"opposition": "a", "gradient_cosine": "b"}
    assert render(make_case(), definitions=definitions)[0] == render(make_case(), definitions=definitions)[0]


def test_nothing_in_the_page_leads_outside() -> None:
    text, page = render(make_case())
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        icon = dict(attributes) == {"rel": "icon", "href": "data:,"}  # so that none is asked for
        assert tag != "link" or icon
        assert icon or attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)


def test_the_policy_admits_exactly_the_style_and_script_of_the_page() -> None:
    _, page = render(make_case())
    (policy,) = (
        meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    style, script = page.texts["style"][0], page.texts["script"][2]

    def sha256(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": sha256(style),
        "script-src": sha256(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(script.encode()) < 20_000


def test_names_from_data_are_shown_and_never_become_markup() -> None:
    close = "</script></style></title><script>alert(1)</script>"
    case = make_case(
        classes=(HOSTILE, close, "frog"), names=tuple(f"{HOSTILE}{close}/{i}" for i in range(24))
    )
    assert case.mining is not None
    pair = replace(
        case.mining.pairs[0], verdict=HOSTILE, reasons=(close,), evidence={HOSTILE: Evidence(1.0, 0.5)}
    )
    case = replace(
        case,
        run=replace(
            case.run,
            model=HOSTILE,
            data=close,
            checkpoints=close,
            hyper={HOSTILE: close},
            transform={close: HOSTILE},
        ),
        mining=replace(case.mining, pairs=(pair,), method=close, notes=(HOSTILE, close)),
        provenance={HOSTILE: Provenance(close, {HOSTILE: close}, HOSTILE)},
    )
    for images in (case, replace(case, thumbnails=None)):
        text = render_html(images, {HOSTILE: close}, definitions={HOSTILE: close})
        page = Page(text)
        assert len(page.named("script")) == 3
        assert len(page.named("style")) == 1
        assert all(image["src"].startswith("data:image/png") for image in page.named("img"))
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert HOSTILE in "".join(page.texts["main"])
        assert close in "".join(page.texts["main"])
        assert json.loads(page.texts["script"][0]) == {HOSTILE: close}


def test_a_file_name_that_is_no_text_is_no_obstacle() -> None:
    case = make_case(images=False, names=tuple(f"\udcff{i}.png" for i in range(24)))
    assert "\ufffd0.png" in render(case)[0].encode("utf-8").decode()


def test_the_result_is_embedded_as_json() -> None:
    case = make_case()
    result = {
        "pairs": case.mining.pairs if case.mining else (),
        "nothing": float("nan"),
        "text": "a\u2028<b>",
    }
    page = Page(render_html(case, result))
    (data,) = (attributes for attributes in page.named("script") if attributes.get("id") == "opsig-result")
    assert data["type"] == "application/json"
    assert json.loads(page.texts["script"][0]) == plain(result)


def test_galleries_show_the_largest_deltas_first_and_count_the_rest() -> None:
    case = make_case(examples=48)
    text, _ = render(case, thumbnails_per_group=3)
    gallery = re.split('<div class="gallery (?:first|second|up|down)">', text)[1]
    shown = [int(i) for i in re.findall(r'<span class="id">(\d+)</span>', gallery)]
    deltas = case.trace.losses[SPIKE_AT + 1, :8] - case.trace.losses[SPIKE_AT, :8]
    assert shown == case.trace.example_ids[np.argsort(-np.abs(deltas))[:3]].tolist()
    assert "5 more by id" in gallery
    assert f"+{float(np.sort(deltas)[-1]):.2f}" in gallery


def test_data_without_pictures_gets_tables_of_examples() -> None:
    text, page = render(make_case(images=False))
    assert page.named("img") == []
    listing = re.split('<table class="sortable listing">|</table>', text)
    assert "100.png" in text
    assert any("example</th>" in part for part in listing)


def test_an_example_without_a_picture_among_others_keeps_its_place() -> None:
    case = make_case()
    assert case.thumbnails is not None
    fewer = replace(case.thumbnails, ids=case.thumbnails.ids[1:], images=case.thumbnails.images[1:])
    _, page = render(replace(case, thumbnails=fewer))
    assert "no picture" in page.texts["main"][0]


def test_a_store_with_the_pictures_of_the_top_ids_leaves_no_top_example_blank() -> None:
    case = make_case(pairs=0)
    assert case.mining is not None
    assert case.thumbnails is not None
    kept = np.isin(case.thumbnails.ids, top_ids(case.mining))
    pictures = tuple(image for image, keep in zip(case.thumbnails.images, kept, strict=True) if keep)
    assert 0 < len(pictures) < len(kept)
    text, _ = render(replace(case, thumbnails=Thumbnails(case.thumbnails.ids[kept], pictures)))
    assert "no picture" not in text


def test_top_examples_name_the_pair_they_belong_to() -> None:
    text, _ = render(make_case())
    assert '<span class="member">1\u25b2</span>' in text
    assert '<span class="member">1\u25bc</span>' in text


@pytest.mark.parametrize(
    "missing",
    [
        {"mining": None},
        {"sharpness": ()},
        {"thumbnails": None},
        {"provenance": {}},
        {"mining": None, "sharpness": (), "thumbnails": None, "provenance": {}},
    ],
)
def test_a_case_with_missing_parts_is_shown_without_them(missing: dict[str, object]) -> None:
    _, page = render(replace(make_case(), **missing))  # type: ignore[arg-type]
    assert len(page.texts["h1"][0]) > 10
    if "mining" in missing:
        assert "run opsig mine" in page.texts["header"][0]
        assert "Pair 1" not in page.texts["main"][0]
    if "sharpness" in missing:
        assert "Sharpness was not measured" in page.texts["header"][0]


def test_a_case_without_pairs_says_so_and_what_was_looked_at() -> None:
    _, page = render(make_case(pairs=0))
    assert "No pair of opposing groups was found" in page.texts["h1"][0]
    assert "24 candidate examples of 24" in page.texts["header"][0]


@pytest.mark.parametrize(("checkpoints", "examples"), [(2, 6), (2, 3), (3, 24), (41, 3)])
def test_the_smallest_cases_are_shown(checkpoints: int, examples: int) -> None:
    case = make_case(checkpoints=checkpoints, examples=examples, pairs=1 if examples >= 6 else 0)
    assert len(render(case)[1].named("figure")) >= 2


def test_losses_that_are_not_finite_leave_gaps_and_are_said() -> None:
    case = make_case()
    losses = case.trace.losses.copy()
    losses[30:, :] = np.nan
    losses[5, 0] = np.nan
    text, page = render(with_losses(case, losses))
    assert "not a finite number at 11 of 41 checkpoints" in page.texts["header"][0]
    whose = "over the 23 of 24 examples measured at every checkpoint that has one"
    assert f"The mean loss is {whose}." in page.texts["header"][0]
    assert f"mean loss, nats, {whose}" in page.texts["header"][0]
    shown = re.sub("<style>.*?</style>|<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", shown, flags=re.IGNORECASE)


def test_a_case_without_a_single_finite_loss_is_shown() -> None:
    case = make_case()
    assert (
        "41 of 41 checkpoints" in render(with_losses(case, case.trace.losses * np.nan))[1].texts["header"][0]
    )


def test_a_strongest_step_that_the_trace_does_not_have_leaves_deltas_open() -> None:
    case = make_case()
    assert case.mining is not None
    pair = replace(case.mining.pairs[0], strongest_step=12345)
    text, page = render(replace(case, mining=replace(case.mining, pairs=(pair,))))
    assert "figure-close1" not in {attributes["id"] for attributes in page.named("figure")}
    assert "Strongest from step 12,345" in text


def test_unconverged_sharpness_is_hollow_and_named() -> None:
    text, page = render(make_case())
    chart = text[text.index('id="figure-sharpness"') :]
    chart = chart[: chart.index("</figure>")]
    hollow = re.findall(r'<g class="f-paper s-sharp".*?</g>', chart)
    assert [part.count("<circle") for part in hollow] == [1, 1]  # the legend and the point at step 8
    assert 'cx="20%"' in hollow[1]
    assert "not converged (1 of 11)" in page.texts["main"][0]
    assert "Stopped" not in page.texts["h1"][0]


def test_preconditioned_sharpness_comes_first_and_holds_the_threshold() -> None:
    case = make_case()
    points = tuple(
        replace(p, preconditioned=p.eigenvalues[0] * 1000, threshold=38_000.0, ratio=p.eigenvalues[0] / 38)
        for p in case.sharpness
    )
    text, page = render(replace(case, sharpness=points))
    ids = [attributes["id"] for attributes in page.named("figure")]
    assert ids[2:4] == ["figure-preconditioned", "figure-sharpness"]
    first, second = text.split('id="figure-preconditioned"')[1].split('id="figure-sharpness"')[:2]
    assert "stability threshold" in first
    assert "stability threshold" not in second.split("</figure>")[0]


def test_a_threshold_that_changes_gets_a_chart_of_the_ratio() -> None:
    case = make_case()
    points = tuple(
        replace(p, threshold=25.0 + p.step, ratio=p.eigenvalues[0] / (25 + p.step)) for p in case.sharpness
    )
    ids = [attributes["id"] for attributes in render(replace(case, sharpness=points))[1].named("figure")]
    assert "figure-ratio" in ids
    assert "figure-ratio" not in render(case)[0]


def test_a_loss_over_more_than_two_decades_is_drawn_on_a_log_scale() -> None:
    case = make_case()
    falling = case.trace.losses * np.geomspace(1, 1e-4, 41, dtype=np.float32)[:, None]
    for losses, said in ((falling, True), (case.trace.losses, False)):
        assert ("log scale" in render(with_losses(case, losses))[0].split("</figcaption>")[0]) is said


def test_a_long_series_stays_small_and_lists_its_spike() -> None:
    case = make_case(checkpoints=6000, examples=12, images=False)
    case = replace(case, sharpness=case.sharpness[:200])
    text, page = render(case)
    assert len(text) < 500_000
    assert "6,000 checkpoints, evenly spread" in page.texts["main"][0]
    assert f"<td>{SPIKE_AT + 1}</td>" in text


def test_the_page_needs_no_torch() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from reporting_case import make_case; "
        "from opsigcli.reporting.html import render_html; from opsigcli.reporting import RENDERERS; "
        "case = make_case(); render_html(case, {}); RENDERERS.load('opsig/report')(case); "
        "assert not {'torch', 'h5py', 'scipy'} & set(sys.modules)"
    )
    root = __file__.rsplit("/", 3)[0]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_groups_show_their_mean_pictures_and_the_nearest_prototype_first() -> None:
    case = make_case()
    assert case.mining is not None
    assert case.thumbnails is not None
    pair = case.mining.pairs[0]
    nearest = int(pair.first.ids[-1])
    means = tuple(np.full((4, 6, 3), level, dtype=np.uint8) for level in (10, 200, 128))
    case = replace(
        case,
        mining=replace(case.mining, pairs=(replace(pair, first=replace(pair.first, nearest=nearest)),)),
        thumbnails=replace(case.thumbnails, means=means),
    )
    text, _ = render(case, thumbnails_per_group=2)
    shown = re.findall(r'alt="([^"]*)"', text[text.index('id="pair-1"') :])
    assert shown[:3] == ["mean picture, first", "mean picture, second", "mean picture, first minus second"]
    assert shown[3].startswith(f"example {nearest},")
    assert text.count('<span class="member">nearest</span>') == 1


def test_evidence_of_features_and_tokens_is_explained() -> None:
    case = make_case()
    assert case.mining is not None
    named = {
        "members by red against green": Evidence(0.9, 0.6, 0.005, "members by FEATURE", "red against green"),
        "first: token seen '<b>'": Evidence(0.9, 0.1, 1e-6, "SIDE: token seen", "<b>", "first"),
    }
    pairs = tuple(replace(pair, evidence=named) for pair in case.mining.pairs)
    definitions = {"members by FEATURE": "more of a feature", "SIDE: token seen": "share that saw it"}
    case = replace(case, mining=replace(case.mining, pairs=pairs))
    _, page = render(case, definitions=definitions)
    assert {"more of a feature", "share that saw it"} <= set(page.texts["dd"])
    places = {entry["id"] for entry in page.named("dt") if "id" in entry}
    links = {entry["href"][1:] for entry in page.named("a") if entry["href"].startswith("#define")}
    assert links == places == {"define-members-by-red-against-green", "define-first-token-seen-b-"}

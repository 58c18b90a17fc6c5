"""What every chart and every table of bars keeps to, whichever case it draws; new lines of the tables come in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from reporting_case import HOSTILE, make_case, with_losses

from opsigcli.mining_records import (
    Evidence,
)
from opsigcli.probe_records import Probe, ProbeTrace
from opsigcli.records import Case
from opsigcli.registry import Entry
from opsigcli.reporting.charts import BARS, CHARTS
from opsigcli.reporting.charts.bars import sharpness_bars
from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.html import render_html
from opsigcli.reporting.sharpness_lines import (
    largest_point,
)
from opsigcli.reporting.svg import Figure
from opsigcli.sharpness_records import CriticalSharpness, GroupCurvature, HessianSpectrum, LayerCurvature


def full() -> Case:
    """A case with everything that a chart may need, under names that mean to break out."""
    case = make_case(pairs=2, classes=(HOSTILE, "</svg>", "frog"))
    assert case.mining is not None
    layers = tuple(
        LayerCurvature(name, kind, 100 + i, (share,), 4.0, 1e-4, i > 0)
        for i, (name, kind, share) in enumerate(
            [(HOSTILE, "mlp", 0.5), ("b", "mlp", 0.3), ("</td>", "norm", 0.2)]
        )
    )
    groups = tuple(
        GroupCurvature(key, 0.1, Evidence(0.5, 0.1), Evidence(0.4, 0.2), -0.3) for key in case.mining.groups
    )
    point = replace(
        largest_point(case.sharpness) or case.sharpness[-1],
        layers=layers,
        kinds=(replace(layers[0], name="mlp"), replace(layers[2], name="norm")),
        groups=groups,
    )
    spectrum = HessianSpectrum(
        tuple(np.linspace(-1.0, 60.0, 40)),
        (*np.geomspace(10, 1e-9, 39), 0.0),
        (0.1,) * 40,
        *(0.3, 4, 20, 2.0, 3, (2, 4), 9.0, 0.2, 49.0, 1.0, 50.0, 80),
    )
    point = replace(point, spectrum=spectrum)
    rest = tuple(
        replace(p, layers=layers[: 2 + i % 2]) if i % 3 else p
        for i, p in enumerate(case.sharpness)
        if p.step != point.step
    )
    critical = CriticalSharpness(4, 18.0, 0.11, 25.0, 0.72, 0.01, "next checkpoint", 6, 0)
    lost = CriticalSharpness(8, None, None, 25.0, None, None, "gradient", 9, 1, HOSTILE)
    shown = np.array(case.trace.losses)[:, :3]
    answers = (shown / shown.sum(axis=1, keepdims=True)).astype(np.float32)
    probe = Probe("colour:skyblue", HOSTILE, "0" * 32)
    traced = ProbeTrace(probe, np.zeros((1, 3, 2, 2), np.float32), np.arange(3), answers)
    return replace(case, sharpness=(*rest, point), critical=(critical, lost), probes=(traced,))


def holed() -> Case:
    """Checkpoints without a loss, and an example that was not always measured."""
    case = full()
    losses = case.trace.losses.copy()
    losses[[0, 7, -1]] = np.nan
    losses[9, 2] = np.inf
    return with_losses(case, losses)


CASES: dict[str, Callable[[], Case]] = {
    "full": full,
    "holes": holed,
    "no loss": lambda: with_losses(full(), full().trace.losses * np.nan),
    "two checkpoints": lambda: make_case(checkpoints=2, examples=6),
    "one checkpoint": lambda: replace(make_case(checkpoints=1, pairs=0), mining=None),
    "no mining": lambda: replace(full(), mining=None),
    "no pairs": lambda: make_case(pairs=0),
    "no sharpness": lambda: replace(full(), sharpness=()),
    "long": lambda: make_case(checkpoints=3000, examples=12, images=False),
}
PRESENTATION = re.compile(r"\bstyle=|\bon\w+=|\bnan\b|\binf\b|://")


def draw(name: str, case: Case) -> list[Figure]:
    return CHARTS.load(name)(Sheet(case))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [*CHARTS])
def test_a_chart_is_well_formed_described_and_tabulated(name: str, case: str) -> None:
    made = CASES[case]()
    for figure in draw(name, made):
        root = ElementTree.fromstring(figure.svg)
        ids = {element.get("id"): element for element in root if element.tag in ("title", "desc")}
        assert root.get("role") == "img"
        assert set((root.get("aria-labelledby") or "").split()) == set(ids)
        assert len(ids) == 2
        assert all(element.text for element in ids.values())
        assert figure.title
        assert figure.rows or not made.trace.steps.size
        assert {len(row) for row in figure.rows} <= {len(figure.header)}
        assert len(figure.rows) <= max(450, len(made.sharpness))
        for key in figure.legend:
            assert key.text
            assert key.column is None or key.column < len(figure.header)
            assert not key.swatch or ElementTree.fromstring(key.swatch) is not None
        for text in (figure.svg, *(key.swatch for key in figure.legend)):
            assert not PRESENTATION.search(re.sub(">[^<]*<", "><", text))  # words are no attributes
        assert len(figure.svg) < 100_000
        assert figure.pair is None or (made.mining and 1 <= figure.pair <= len(made.mining.pairs))


@pytest.mark.parametrize("name", [*CHARTS])
def test_a_chart_draws_a_full_case_and_the_same_one_each_time(name: str) -> None:
    once = draw(name, full())
    assert once
    assert once == draw(name, full())


@pytest.mark.parametrize("case", CASES)
def test_no_two_figures_share_a_key(case: str) -> None:
    sheet = Sheet(CASES[case]())
    keys = [figure.key for name in CHARTS for figure in CHARTS.load(name)(sheet)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", [*BARS])
def test_a_table_of_bars_has_a_drawn_bar_and_as_many_cells_as_its_head_in_every_row(name: str) -> None:
    point = largest_point(full().sharpness)
    assert point is not None
    bars = BARS.load(name)(point)
    assert bars.title
    assert bars.words
    assert bars.rows
    for row in bars.rows:
        assert len(row.cells) + 1 == len(bars.header)
        assert not PRESENTATION.search(row.bar)
        assert ElementTree.fromstring(row.bar).tag == "svg"
    assert bars == BARS.load(name)(point)
    assert BARS.load(name)(replace(point, layers=(), kinds=(), groups=())) is None


def test_every_chart_and_every_table_stands_in_the_page() -> None:
    case = full()
    page = render_html(case, {})
    for name in CHARTS:
        assert all(f'id="figure-{figure.key}"' in page for figure in draw(name, case))
    assert len(sharpness_bars(case)) == len([*BARS])
    assert all(f'id="bars-{bars.key}"' in page for bars in sharpness_bars(case))
    assert HOSTILE not in page


def test_a_chart_is_added_by_a_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        CHARTS.entries, "spread", Entry("chart_of_spread:spread_chart", "how far losses spread")
    )
    page = render_html(full(), {})
    assert page.index('id="figure-sharpness"') < page.index('id="figure-spread"') < page.index('id="pair-1"')
    test_a_chart_is_well_formed_described_and_tabulated("spread", "holes")

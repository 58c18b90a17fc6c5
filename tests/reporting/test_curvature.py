"""What a reader is shown about layers, groups, phases and spectrum."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reporting_case import make_case, show
from rich.cells import cell_len

from opsigcli.mining_records import (
    Evidence,
    GroupKey,
)
from opsigcli.reporting.charts.bars import sharpness_bars
from opsigcli.reporting.html import render_html
from opsigcli.reporting.summary import notes
from opsigcli.reporting.terminal import render_curvature
from opsigcli.sharpness_records import GroupCurvature, HessianSpectrum, LayerCurvature, Phase


def located():
    case = make_case()
    point = replace(
        max(case.sharpness, key=lambda p: p.eigenvalues[0]),
        converged=True,
        layers=(
            LayerCurvature("features.0", "convolution", 1234, (0.875,), 41.5, 1e-4, True),
            LayerCurvature("[red]head", "mlp", 99, (0.125,), 3.25, 0.3, False),
        ),
        kinds=(
            LayerCurvature("convolution", "convolution", 1234, (0.875,), 41.5, 1e-4, True),
            LayerCurvature("mlp", "mlp", 99, (0.125,), 3.25, 1e-4, True),
        ),
        groups=(
            GroupCurvature(GroupKey(1, "first"), 0.05, Evidence(0.625, 0.04), Evidence(0.81, 0.2), -0.9),
        ),
        batch_sharpness=12.5,
        batch_error=0.25,
        batch_ratio=0.5,
        batches=20,
        secant=7.75,
        secant_step=99,
        concentration=0.44,
        spectrum=HessianSpectrum(
            (0.0,), (1.0,), (0.1,), 0.1, 8, 40, 0.5, 9, (8, 11), 33.5, 0.7, 9.0, 1.5, 9.5, 400
        ),
    )
    rest = tuple(p for p in case.sharpness if p.step != point.step)
    phase = Phase("at the edge", 4, 8, "2 points, stability ratio 0.95 to 1.20, median 1.07")
    return replace(case, sharpness=(*rest, point), phases=(phase,))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_everything_measured_is_shown_and_fits(width):
    text = show(render_curvature(located()), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    for expected in (
        "at the edge",
        "features.0",
        "[red]head",
        "41.5",
        "3.250 ?",
        "all mlp",
        "12.5",
        "7.75",
        "44",
    ):
        assert expected in flat, expected
    assert "(8 to 11 over 8 random starts)" in flat


def test_what_was_not_measured_is_left_out():
    text = show(render_curvature(make_case()))
    for absent in ("Phases", "Layers", "Groups", "Spectrum", "batch"):
        assert absent not in text


def test_the_report_tells_phases_layers_and_groups():
    case = located()
    said = " ".join(notes(case))
    assert "Steps 4 to 8: at the edge" in said
    assert "layer features.0 holds" in said
    assert "pair 1 first holds" in said
    assert "as many of the same classes hold" in said
    assert "at the edge (2 points" in render_html(case, {})


def test_the_page_draws_layers_and_groups_as_bars_with_what_they_are_held_against():
    case = located()
    layers, groups = sharpness_bars(case)  # as many kinds as layers would say nothing new
    assert (layers.key, groups.key) == ("layers", "sharp-groups")
    first, second = layers.rows
    assert first.cells == ("88%", "93%", "41.50")
    assert second.name == "[red]head (mlp)"
    assert second.cells[2] == "3.250 (not converged)"
    scale = 1234 / 1333  # the largest number in the table takes the whole width
    assert f'width="{87.5 / scale:.2f}%"' in first.bar
    assert 'x1="100.00%"' in first.bar
    page = render_html(case, {})
    assert "Where the sharpness is" in page
    assert 'class="bars" id="bars-sharp-groups"' in page


def test_many_layers_are_shortened_and_still_add_up():
    case = located()
    point = case.sharpness[-1]
    many = tuple(LayerCurvature(f"l{i}", "mlp", 10, (0.01 * (i < 20) + 0.02 * (i >= 20),)) for i in range(60))
    (bars, *_) = sharpness_bars(replace(case, sharpness=(replace(point, layers=many, kinds=()),)))
    assert len(bars.rows) == 17
    assert bars.rows[0].name == "l20 (mlp)"  # in the model's order
    assert bars.rows[-1].name == "44 other layers"
    assert bars.rows[-1].cells == ("68%", "73%")


def test_a_page_without_layers_or_groups_has_no_bars():
    assert sharpness_bars(make_case()) == []
    assert "Where the sharpness is" not in render_html(make_case(), {})

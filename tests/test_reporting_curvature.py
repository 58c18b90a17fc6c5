"""What a reader is shown about layers, groups, phases and spectrum."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reporting_case import make_case
from rich.cells import cell_len
from test_reporting_terminal import show

from opsigcli.records import Evidence, GroupCurvature, HessianSpectrum, LayerCurvature, Phase
from opsigcli.reporting.curvature import render_curvature
from opsigcli.reporting.html import render_html
from opsigcli.reporting.summary import notes


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
        groups=(GroupCurvature("pair 1 first", 0.05, Evidence(0.625, 0.04), Evidence(0.81, 0.2), -0.9),),
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

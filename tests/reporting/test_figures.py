"""Scales, ticks, thinning and the marks of SVG charts are numerically right."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from opsigcli.reporting.glyphs import ROLES, dumbbell, shares
from opsigcli.reporting.scales import Scale, decimate, log_ticks, nice_ticks, tick_text, value_scale
from opsigcli.reporting.svg import Chart


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 301, 6, [0, 50, 100, 150, 200, 250, 300]),
        (0, 90, 6, [0, 20, 40, 60, 80]),
        (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
        (0.1, 0.3, 4, [0.1, 0.15, 0.2, 0.25, 0.3]),
        (7, 7, 4, [7]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, count) == pytest.approx(ticks)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 3.7e5])
def test_ticks_are_about_as_many_as_asked_for_at_any_size(scale: float) -> None:
    for count in (2, 4, 8):
        ticks = nice_ticks(0.13 * scale, 0.97 * scale, count)
        assert count / 1.6 - 1 <= len(ticks) <= 1.6 * count + 1
        assert all(0.13 * scale <= tick <= 0.97 * scale for tick in ticks)


def test_log_ticks_are_powers_of_ten_and_finer_over_little_more_than_a_decade() -> None:
    assert log_ticks(0.001, 10) == pytest.approx([0.001, 0.01, 0.1, 1, 10])
    assert log_ticks(3, 40) == pytest.approx([5, 10, 20])
    assert len(log_ticks(1e-12, 1e12)) <= 7


def test_scale_is_linear_or_logarithmic_and_stops_at_its_ends() -> None:
    assert Scale(0, 10)(2.5) == 0.25
    assert Scale(1, 100, log=True)(10) == pytest.approx(0.5)
    assert (Scale(0, 10)(-5), Scale(0, 10)(50)) == (0, 1)
    assert Scale(1, 100, log=True)(0) == 0
    assert Scale(3, 3)(3) == 0.5


def test_value_scale_is_logarithmic_only_beyond_two_decades_of_positive_values() -> None:
    assert not value_scale([0.02, 2.0], allow_log=True).log
    assert value_scale([0.0199, 2.0], allow_log=True).log
    assert not value_scale([0.001, 2.0]).log
    assert not value_scale([-0.001, 2.0], allow_log=True).log


def test_value_scale_holds_every_finite_value_and_zero_when_near() -> None:
    for values in ([0.2, 2.0, math.nan], [5.0, 5.2], [-3.0, 4.0], [1.0], [0.0, 0.0]):
        scale = value_scale(values)
        assert all(scale.low <= v <= scale.high for v in values if math.isfinite(v))
        assert scale.low < scale.high
    assert value_scale([0.2, 2.0]).low == 0
    assert value_scale([5.0, 5.2]).low > 4
    assert value_scale([math.nan]) == Scale(0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12000, "12k"),
        (0.25, "0.25"),
        (3.8e6, "3.8M"),
        (-2, "-2"),
        (0, "0"),
        (1e18, "1e18"),
        (-2.5e12, "-2.5e12"),
    ],
)
def test_tick_text_is_short(value: float, text: str) -> None:
    assert tick_text(value) == text


def test_thinning_keeps_ends_extremes_and_order() -> None:
    rng = np.random.default_rng(0)
    x, y = np.arange(20_000), rng.standard_normal(20_000)
    y[7_777], y[12_345] = 40.0, -40.0
    kept = decimate(x, y, bins=500)
    assert len(kept) <= 2 * 500 + 2
    assert {0, 19_999, 7_777, 12_345} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)
    for start in range(0, 20_000, 2_000):  # the least and the greatest of any stretch of whole bins survive
        inside = kept[(kept >= start) & (kept < start + 2_000)]
        assert y[inside].max() == y[start : start + 2_000].max()
        assert y[inside].min() == y[start : start + 2_000].min()


def test_thinning_leaves_short_curves_alone_and_gaps_open() -> None:
    assert decimate(np.arange(10), np.zeros(10)).tolist() == list(range(10))
    y = np.ones(5_000)
    y[2_000:2_003] = np.nan
    assert np.isnan(y[decimate(np.arange(5_000), y, bins=50)]).sum() == 1


def test_thinning_works_on_unevenly_spaced_steps() -> None:
    x = np.sort(np.random.default_rng(1).integers(0, 10**6, 4_000))
    y = np.sin(x / 1e5)
    kept = decimate(x, y, bins=100)
    assert kept[0] == 0
    assert kept[-1] == len(x) - 1
    assert len(kept) <= 202


def test_curve_puts_values_where_the_scales_say_and_breaks_at_gaps() -> None:
    chart = Chart(Scale(0, 4), Scale(0, 10), 100)
    chart.curve(np.arange(5), np.array([0.0, 5.0, np.nan, 10.0, 2.5]), "ink")
    (path,) = re.findall(r' d="([^"]+)"', chart.svg("k", "t", "d"))
    assert path == "M0,100L250,50M750,0L1000,75"


def test_points_stand_at_their_step_and_open_ones_are_hollow() -> None:
    chart = Chart(Scale(100, 200), Scale(0, 4), 80)
    chart.points([100, 150, 200], [0.0, 1.0, math.nan], "sharp", "disc", [False, True, False])
    text = chart.svg("k", "t", "d")
    solid, hollow = re.findall(r'<g class="f-(\w+) s-sharp".*?</g>', text)
    assert (solid, hollow) == ("sharp", "paper")
    assert re.findall(r'cx="([^"]+)" cy="([^"]+)"', text) == [("0%", "80"), ("50%", "60")]


def test_long_series_stay_small() -> None:
    steps = np.arange(50_000)
    chart = Chart(Scale(0, 50_000), Scale(-1, 1), 200)
    chart.curve(steps, np.sin(steps), "ink")
    assert len(chart.svg("k", "t", "d")) < 20_000


def test_charts_carry_their_colours_in_attributes_and_no_style() -> None:
    chart = Chart(Scale(0, 1), Scale(0, 1), 50, right_ticks=0.5)
    chart.curve(np.arange(2), np.array([0.0, 1.0]), "first", dash="dash")
    chart.level(0.5, "limit")
    chart.upright(1, "limit")
    text = chart.svg("k", "a <title>", "b & c")
    assert "style=" not in text
    assert f'stroke="{ROLES["first"]}"' in text
    assert '<title id="k-t">a &lt;title&gt;</title><desc id="k-d">b &amp; c</desc>' in text


def test_shares_are_as_wide_as_they_are_large_and_fill_the_bar() -> None:
    text = shares([("a", 0.5, "first"), ("b", 0.3, "second"), ("<c>", 0.2, "muted")])
    boxes = [(float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)%" width="([\d.]+)%"', text)]
    assert boxes == [(0, 50), (50, 30), (80, 20)]
    assert "&lt;c&gt;" in text
    assert shares([("a", 0.0, "first")]) == ""


def test_dumbbell_puts_cosines_on_minus_one_to_one_and_ratios_from_zero() -> None:
    def discs(text: str) -> list[float]:
        return [float(x) for x in re.findall(r'cx="([\d.]+)"', text)]

    assert discs(dumbbell(-1.0, 1.0)) == [114, 6]  # the null comes first
    assert discs(dumbbell(2.0, 1.0)) == pytest.approx([6 + 108 / 2.2, 6 + 108 / 1.1], abs=0.1)
    assert len(discs(dumbbell(0.5, None))) == 1
    assert dumbbell(math.nan, None) == ""

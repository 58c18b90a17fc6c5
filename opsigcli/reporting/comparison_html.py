"""A comparison of several runs as one HTML file, on the terms of the report of one: no network, no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli import __version__
from opsigcli.printable import printable_lines, without_home
from opsigcli.reporting.comparison import (
    curve_of,
    gains,
    numbers,
    over_words,
    pairs,
    settings,
    shared_lines,
    span,
    title,
    unit_in,
)
from opsigcli.reporting.format import number
from opsigcli.reporting.glyphs import swatch
from opsigcli.reporting.page import content_security_policy, embedded, environment_of
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.svg import Chart, Figure, Key

if TYPE_CHECKING:
    from opsigcli.comparison_records import ComparedRun, Comparison, PairElsewhere
    from opsigcli.records import Floats

LOOKS = (
    *(("ink", ""), ("first", ""), ("second", "dash"), ("sharp", ""), ("limit", "dash")),
    *(("muted", ""), ("first", "dot"), ("sharp", "dash")),
)  # role and dash of each run's curve
ROWS = 200  # of a chart's table
MOST_PAIRS = 12  # that are drawn in every run


def render_comparison_html(compared: Comparison, result: Mapping[str, Any]) -> str:
    """The comparison as one self-contained HTML document; the same runs give the same text.

    Args:
        compared: the runs.
        result: the result object of ``--json``, put into the file for programs.
    """
    environment = environment_of()
    assert environment.loader is not None
    css = "".join(
        environment.loader.get_source(environment, name)[0] for name in ("report.css", "comparison.css")
    )
    page = environment.get_template("comparison.html.jinja").render(
        css=css,
        csp=content_security_policy(css, ""),
        data=embedded(result),
        version=__version__,
        title=title(compared),
        over=over_words(compared),
        axis=compared.runs[0].axis,
        unit=unit_in(compared.runs).within,
        figures=[_losses(compared), *_ratios(compared)],
        multiples=_pairs(compared),
        listings=[
            each for table in (settings, numbers, gains, pairs) if (each := table(compared)) is not None
        ],
        shared=shared_lines(compared),
        notes=compared.notes,
    )
    return without_home(printable_lines(page))


def _losses(compared: Comparison) -> Figure:
    runs = compared.runs
    y = value_scale([value for run in runs for value in curve_of(run)], allow_log=True)
    chart = Chart(span(runs), y, 240)
    for run, (role, dash) in zip(runs, LOOKS, strict=False):
        chart.curve(run.steps, curve_of(run), role, dash=dash, width=1.6)
    steps = sorted({int(step) for run in runs for step in run.steps})
    listed = [steps[i * len(steps) // ROWS] for i in range(ROWS)] if len(steps) > ROWS else steps
    at = [dict(zip(run.steps.tolist(), curve_of(run).tolist(), strict=True)) for run in runs]
    rows = tuple((f"{step:,}", *(number(each.get(step), 4) for each in at)) for step in listed)
    words = ", ".join(f"{run.letter} ends at {number(curve_of(run)[-1], 4)}" for run in runs)
    note = "" if len(listed) == len(steps) else f"{len(listed)} of {len(steps):,} steps, evenly spread"
    return Figure(
        "losses",
        "Mean loss",
        chart.svg("losses", "Mean losses of all runs", f"Mean losses{unit_in(runs).within}: {words}."),
        _legend(runs),
        (runs[0].axis.one, *(run.letter for run in runs)),
        rows,
        note,
        log=y.log,
    )


def _ratios(compared: Comparison) -> list[Figure]:
    runs = compared.runs
    values = [ratio for run in runs for ratio in run.ratios]
    if not values:
        return []
    y = value_scale([*values, 1.0], allow_log=True)
    chart = Chart(span(runs), y, 160)
    chart.level(1.0, "limit")
    at = []
    for number_of, (run, (role, _)) in enumerate(zip(runs, LOOKS, strict=False)):
        chart.points(run.ratio_steps, run.ratios, role, ("disc", "up", "down", "diamond")[number_of % 4])
        at.append(dict(zip(run.ratio_steps, run.ratios, strict=True)))
    legend = tuple(
        Key(swatch(role, shape=("disc", "up", "down", "diamond")[i % 4], line=False), _name(run))
        for i, (run, (role, _)) in enumerate(zip(runs, LOOKS, strict=False))
        if run.ratios
    )
    rows = tuple(
        (f"{step:,}", *(number(each.get(step)) for each in at))
        for step in sorted({step for run in runs for step in run.ratio_steps})
    )
    peaks = ", ".join(f"{run.letter} at most {number(max(run.ratios))}" for run in runs if run.ratios)
    svg = chart.svg("ratios", "Stability ratios of all runs", f"The edge of stability is at 1; {peaks}.")
    header = (runs[0].axis.one, *(run.letter for run in runs))
    return [Figure("ratios", "Stability ratio", svg, legend, header, rows, log=y.log)]


def _pairs(compared: Comparison) -> list[tuple[str, list[Figure]]]:
    """The two groups of each pair where they were mined and in all other runs, on one scale."""
    runs = {run.letter: run for run in compared.runs}
    by_pair: dict[tuple[str, int], list[PairElsewhere]] = {}
    for found in compared.elsewhere:
        by_pair.setdefault((found.mined_in, found.pair), []).append(found)
    multiples = []
    for (letter, number_of), places in list(by_pair.items())[:MOST_PAIRS]:
        first = places[0]
        drawn = [(letter, "where it was mined", first.before)]
        drawn += [(found.seen_in, found.said, found.there) for found in places]
        y = value_scale(
            [value for _, _, curves in drawn for curve in curves for value in curve], allow_log=True
        )
        key, sizes = f"pair-{letter}{number_of}", first.shared
        figures = [
            _groups(runs[where], f"{key}-in-{where}", said, curves, span(compared.runs), y)
            for where, said, curves in drawn
        ]
        title = f"{letter} pair {number_of}, {sizes[0]:,} against {sizes[1]:,} examples ({first.verdict})"
        multiples.append((title, figures))
    return multiples


def _groups(
    run: ComparedRun, key: str, said: str, curves: tuple[Floats, Floats], x: Scale, y: Scale
) -> Figure:
    chart = Chart(x, y, 120)
    chart.curve(run.steps, curves[0], "first", width=1.2, opacity=0.8)
    chart.curve(run.steps, curves[1], "second", dash="dash", width=1.2, opacity=0.8)
    words = f"In {run.letter}: {said}"
    unit = unit_in([run]).heading
    described = f"Mean losses of the first group (solid) and the second (dashed) in {run.letter}{unit}."
    legend = (Key(swatch("first"), "first"), Key(swatch("second", dash="dash"), "second"))
    return Figure(key, words, chart.svg(key, words, described), legend, (), (), log=y.log)


def _legend(runs: tuple[ComparedRun, ...]) -> tuple[Key, ...]:
    return tuple(
        Key(swatch(role, dash=dash), _name(run)) for run, (role, dash) in zip(runs, LOOKS, strict=False)
    )


def _name(run: ComparedRun) -> str:
    return f"{run.letter} {run.store}"

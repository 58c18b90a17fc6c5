"""The figure of a case for a paper: mean loss, group losses, stability ratio and who rises, on one axis of steps."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import ReportError, UsageError
from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.glyphs import ROLES
from opsigcli.reporting.scales import apart, value_scale
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsigcli.records import Case, Floats, Ints, LossTrace

KINDS = (".pdf", ".png", ".svg")
PANEL, MARGIN = 1.05, 0.45  # inches high: a panel, and what the axis below takes
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3,
    "legend.frameon": False,
    "legend.fontsize": 6,
    "pdf.fonttype": 42,  # TrueType, embedded
    "svg.fonttype": "path",  # letters as outlines: nothing to look for where it is opened
    "svg.hashsalt": "opsig",
    "path.simplify": False,
    "text.usetex": False,
}
DATELESS: dict[str, dict[str, str | None]] = {  # the same case gives the same bytes
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}


def draw_figure(case: Case, kind: str, width: float) -> tuple[bytes, list[str]]:
    """The figure of a case as the bytes of a file.

    One panel above the other, as far as the case has them: the mean loss with its spikes; the mean losses of the two
    groups of the first finding, or of the first pair; (preconditioned) sharpness ÷ threshold, filled where it
    converged; and the share of examples whose loss rises from the checkpoint before. The axis holds the steps between
    which the losses move.

    Args:
        case: what the store holds.
        kind: .svg, .pdf or .png.
        width: inches.

    Returns:
        The bytes, and which panels are missing and why.

    Raises:
        UsageError: the kind is another.
        ReportError: matplotlib is not installed.
    """
    if kind not in KINDS:
        raise UsageError(
            f"expected --figure to end in {', '.join(KINDS)}; found {kind or 'no ending'!r}",
            "name it figure.pdf",
        )
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError(
            "expected matplotlib to be installed for --figure; it is not", "pip install 'opsig[figure]'"
        ) from error
    sheet, missing = Sheet(case), list[str]()
    panels: list[Callable[[Any], None]] = [lambda axes: _mean(axes, sheet)]
    if sheet.pairs:
        panels.append(lambda axes: _groups(axes, sheet))
    else:
        missing.append("no group losses: no pair was mined")
    if any(point.ratio is not None for point in case.sharpness):
        panels.append(lambda axes: _ratio(axes, sheet))
    else:
        missing.append("no stability ratio: run opsig sharpness")
    if len(case.trace.steps) > 1:
        panels.append(lambda axes: _rising(axes, sheet))
    settings: Any = {**STYLE, "backend": "agg"}  # over the defaults, whatever a matplotlibrc says
    with mpl.rc_context({**mpl.rcParamsDefault, **settings}):
        figure = Figure(figsize=(width, PANEL * len(panels) + MARGIN), layout="constrained")
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for letter, axes, panel in zip("abcd", rows, panels, strict=False):
            panel(axes)
            axes.set_title(letter, loc="left", fontweight="bold", fontsize=8, pad=2)
        rows[-1].set_xlabel(case.run.axis.one)
        low, high = sheet.window
        air = 0.01 * max(high - low, 1)  # so that a mark at the border is whole
        rows[-1].set_xlim(low - air, high + air)
        figure.align_ylabels(rows)
        file = BytesIO()
        figure.savefig(file, format=kind[1:], dpi=300, metadata=DATELESS[kind])
    return file.getvalue(), missing


def rising(trace: LossTrace) -> Floats:
    """Share of the examples whose loss rises from each checkpoint to the next, (T − 1,) in [0, 1].

    Of the examples with a finite loss at both; NaN where there are none. The losses are read once, row by row.
    """
    counted = np.ones(len(trace.example_ids), bool) if trace.measured is None else trace.measured
    found: list[float] = []
    before: Floats | None = None
    for row in trace.losses:
        if before is not None:
            both = np.isfinite(row) & np.isfinite(before) & counted
            found.append(float((row[both] > before[both]).mean()) if both.any() else math.nan)
        before = row
    return np.array(found)


def _inside(sheet: Sheet, x: Floats | Ints, y: Floats) -> tuple[Floats | Ints, Floats]:
    """The points of a curve within the window, so that they alone say how high the axis is."""
    low, high = sheet.window
    kept = (x >= low) & (x <= high)
    return x[kept], y[kept]


def _logged(axes: Any, *curves: Floats) -> None:
    if value_scale(np.concatenate(curves), allow_log=True).log:
        axes.set_yscale("log")


def _mean(axes: Any, sheet: Sheet) -> None:
    steps = sheet.trace.steps
    axes.plot(*_inside(sheet, steps, sheet.mean), color=ROLES["ink"])
    at = dict(zip(steps.tolist(), sheet.mean.tolist(), strict=True))
    tops = [spike.next_step for spike in sheet.spikes]
    if tops:
        axes.plot(tops, [at.get(step, math.nan) for step in tops], "D", color=ROLES["limit"], label="spike")
        axes.legend()
    axes.set_ylabel("mean loss")
    _logged(axes, _inside(sheet, steps, sheet.mean)[1])


def _groups(axes: Any, sheet: Sheet) -> None:
    index = next((i for i, pair in enumerate(sheet.pairs) if pair.finding is not False), 0)
    pair, (first, second) = sheet.pairs[index], sheet.groups[index]
    for curve, (side, group), line in zip((first, second), pair.groups.items(), ("-", "--"), strict=True):
        label = f"{side} group ({len(group.ids):,})"
        axes.plot(*_inside(sheet, sheet.trace.steps, curve), line, color=ROLES[side], label=label)
    axes.legend()
    axes.set_ylabel("group loss")
    _logged(axes, *(_inside(sheet, sheet.trace.steps, curve)[1] for curve in (first, second)))


def _ratio(axes: Any, sheet: Sheet) -> None:
    steps = np.array([point.step for point in sheet.points])
    ratios = np.array([math.nan if p.ratio is None else p.ratio for p in sheet.points])
    axes.axhline(1, color=ROLES["limit"], linestyle="--", linewidth=0.8)
    axes.plot(*_inside(sheet, *apart(steps, ratios)), color=ROLES["sharp"], linewidth=0.8)
    unlike = contradicted(sheet.points)
    good = np.array([point.converged and point.step not in unlike for point in sheet.points])
    axes.plot(*_inside(sheet, steps[good], ratios[good]), "o", color=ROLES["sharp"])
    axes.plot(
        *_inside(sheet, steps[~good], ratios[~good]), "o", color=ROLES["sharp"], markerfacecolor="white"
    )
    axes.set_ylabel("stability ratio")


def _rising(axes: Any, sheet: Sheet) -> None:
    axes.axhline(0.5, color=ROLES["edge"], linewidth=0.6)
    axes.plot(*_inside(sheet, sheet.trace.steps[1:], rising(sheet.trace)), color=ROLES["ink"], linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share rising")

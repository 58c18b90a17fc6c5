"""How far the losses of all examples moved at a pair's strongest change, with the members of its groups marked."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.format import number
from opsigcli.reporting.glyphs import ramp
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.summary import delta_row
from opsigcli.reporting.svg import Chart, Figure, Key

if TYPE_CHECKING:
    from opsigcli.mining_records import Pair
    from opsigcli.records import Floats
    from opsigcli.reporting.charts.sheet import Sheet

BINS = 40


def delta_charts(sheet: Sheet) -> list[Figure]:
    """A histogram for each pair: are its members the tails, and on opposite sides?"""
    found = []
    for index, pair in enumerate(sheet.pairs, start=1):
        row = delta_row(sheet.trace, pair.strongest_step)
        figure = None if row is None else _figure(sheet, index, pair, row)
        if figure is not None:
            found.append(figure)
    return found


def _figure(sheet: Sheet, index: int, pair: Pair, row: int) -> Figure | None:
    trace = sheet.trace
    before, after = np.asarray(trace.losses[row : row + 2], dtype=np.float64)
    with np.errstate(invalid="ignore"):  # an infinite loss has no delta
        deltas = after - before
    finite = np.isfinite(deltas) if trace.measured is None else np.isfinite(deltas) & trace.measured
    if not finite.any():
        return None
    edges = np.histogram_bin_edges(deltas[finite], BINS)
    counts = {"all": _counts(deltas[finite], edges)}
    for side, group in pair.groups.items():
        members = deltas[trace.positions(group.ids)]
        counts[side] = _counts(members[np.isfinite(members)], edges)
    most = float(counts["all"].max())
    chart = Chart(
        Scale(float(edges[0]), float(edges[-1])), Scale(0.5, most * 1.3, log=True), 110, steps=False
    )
    shares = {"all": (0.0, 1.0), "first": (0.08, 0.5), "second": (0.5, 0.92)}
    for name, role in (("all", "edge"), ("first", "first"), ("second", "second")):
        with chart.series(name):
            chart.bars(edges, counts[name], role, shares[name])
    chart.upright(0.0, "muted")
    span = trace.axis.between(int(trace.steps[row]), int(trace.steps[row + 1]))
    total, sizes = int(finite.sum()), {side: int(counts[side].sum()) for side in pair.groups}
    key = f"deltas{index}"
    description = (
        f"Histogram of the loss deltas of {total:,} examples from {span}{trace.unit.within}, from "
        f"{number(float(edges[0]))} to {number(float(edges[-1]))}, with the {sizes['first']:,} members of the first "
        f"and the {sizes['second']:,} of the second group of pair {index}; heights are on a log scale."
    )
    rows = tuple(
        (number(low), number(high), *(f"{int(counts[name][i]):,}" for name in counts))
        for i, (low, high) in enumerate(pairwise(edges.tolist()))
        if counts["all"][i]
    )
    return Figure(
        key,
        f"Loss deltas, {span}",
        chart.svg(key, f"Pair {index}: loss deltas of all examples", description),
        (
            Key(ramp("edge", [1]), f"all examples ({total:,}){trace.unit.heading}", None, "all"),
            Key(ramp("first", [1]), f"first group ({sizes['first']:,})", None, "first"),
            Key(
                ramp("second", [1]),
                f"second group ({sizes['second']:,})",
                None,
                "second",
            ),
        ),
        (f"from{trace.unit.heading}", "to", "examples", "first group", "second group"),
        rows,
        "bins with examples",
        log=True,
        pair=index,
    )


def _counts(values: Floats, edges: Floats) -> Floats:
    return np.histogram(values, edges)[0].astype(np.float64)

"""Tables that the terminal and the page show alike: what was measured along the run, the spectrum, and all results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from opsigcli.printable import count, printable
from opsigcli.reporting.format import NOTHING, label_name, number, signed
from opsigcli.reporting.removal import sentences
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.sentences import capital
from opsigcli.reporting.sharpness_lines import (
    largest_point,
)
from opsigcli.reporting.tables import head, table_of
from opsigcli.reporting.textplot import sparkline
from opsigcli.result_records import MINED, RANDOM, Result
from opsigcli.sentences import percent
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from opsigcli.records import Case
    from opsigcli.result_records import CausalArm
    from opsigcli.sharpness_records import SharpnessPoint

ALONG, DENSITY = 24, 30  # rows of what was measured along the run; characters of the spectral density
# Of what arms of --causal go on without, names that leave room for all columns in a terminal of 80; and these.
SHORTER = {MINED: "mined groups", RANDOM: "random ones"}
HEADER = ("without", "members", "λ₁", "then", "rises", "swing", "loss", "test", "right")
OUTCOMES = (
    "sharpness_start",
    "sharpness_end",
    "rises",
    "amplitude",
    "mean_loss",
    "test_loss",
    "accuracy",
)
EIGEN_STEPS, ENDS = 3, 2  # steps whose parts are shown; examples at either end of a direction


@dataclass(frozen=True)
class Listing:
    """A table with its words."""

    key: str
    short: str  # of the title, for a list of sections
    title: str
    words: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True  # in all columns but the first


def listings(case: Case) -> list[Listing]:
    """All tables that have something to show."""
    makers: tuple[Callable[[Case], Listing | None], ...] = (along, spectrum, eigen, kept_results)
    found = [listing for make in makers if (listing := make(case)) is not None]
    return [*found, *causal(case)]


def shown(listing: Listing) -> list[RenderableType]:
    """A table for the terminal."""
    parts: list[RenderableType] = [head(printable(listing.title))]
    if listing.rows:
        kind = "right" if listing.numbers else ""
        table = table_of(*((name, kind if i else "") for i, name in enumerate(listing.header)))
        for row in listing.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        parts.append(table)
    return [*parts, *(Text(printable(line), style="dim") for line in listing.words)]


def along(case: Case) -> Listing | None:
    """Batch sharpness, secant curvature and concentration at the points that have them."""
    listed = [
        p for p in case.sharpness if (p.batch_sharpness, p.secant, p.concentration) != (None, None, None)
    ]
    if not listed:
        return None
    rows = []
    for p in (listed[i] for i in _spread(len(listed), ALONG)):
        batch = NOTHING
        if p.batch_sharpness is not None:
            batch = f"{number(p.batch_sharpness, 3)} \u00b1 {number(p.batch_error, 1)}"
        held = NOTHING if p.concentration is None else percent(p.concentration)
        rows.append((f"{p.step:,}", batch, number(p.batch_ratio), number(p.secant, 4), held))
    words = []
    if len(rows) < len(listed):
        words.append(f"{len(rows)} of {len(listed)} are shown, evenly spread.")
    if any((p.concentration or 0) > 1 for p in listed):
        words.append(
            "Above 100 %: along the top eigenvector the other examples together curve the other way."
        )
    if any(p.secant is not None for p in listed):
        words.append(
            "Secant curvature is that along the step to the next checkpoint, kinks of ReLU included."
        )
    header = (case.run.axis.one, "batch sharpness", "ratio", "secant curvature", "held by 5 % of examples")
    return Listing(
        "along", "Minibatches", "Along minibatches, steps and examples", tuple(words), header, tuple(rows)
    )


def sharpest_spectrum(case: Case) -> SharpnessPoint | None:
    """The point with the largest sharpness of those whose spectrum was measured."""
    listed = [p for p in case.sharpness if p.spectrum is not None]
    return largest_point(listed) or (listed[-1] if listed else None)


def spectrum(case: Case) -> Listing | None:
    """The spectrum at every checkpoint where it was measured, with the density of the sharpest one."""
    listed = [p for p in case.sharpness if p.spectrum is not None]
    point = sharpest_spectrum(case)
    if point is None or point.spectrum is None:
        return None
    rows = []
    for p in (listed[i] for i in _spread(len(listed), ALONG)) if len(listed) > 1 else ():
        assert p.spectrum is not None
        trace = f"{number(p.spectrum.hessian_trace, 4)} \u00b1 {number(p.spectrum.trace_error, 2)}"
        rows.append((f"{p.step:,}", f"{p.spectrum.outliers}", number(p.spectrum.bulk), trace))
    found, (low, high) = point.spectrum, point.spectrum.outliers_range
    logs = np.log10(np.maximum(np.nan_to_num(np.array(found.density)), 1e-12))
    at = np.unique(np.linspace(0, len(logs) - 1, min(DENSITY, len(logs))).astype(int))
    drawn = sparkline(logs[at], Scale(max(float(logs.max()) - 6, float(logs.min())), float(logs.max())))
    words = (
        f"At {case.run.axis.at(point.step)}, the sharpest of them: {found.outliers} eigenvalues stand above the bulk, "
        f"which ends at {number(found.bulk)} ({low} to {high} over {found.probes} random starts).",
        f"Trace {number(found.hessian_trace, 4)} \u00b1 {number(found.trace_error, 2)}.",
        f"Of the sharpness {number(point.eigenvalues[0], 4)}, {number(found.gauss_newton, 4)} is the Gauss-Newton "
        f"part and {number(found.remainder, 4)} the rest; Gauss-Newton alone has {number(found.gauss_newton_top, 4)}.",
        f"Density from {number(found.grid[0])} to {number(found.grid[-1])}, log scale: {drawn}",
    )
    header = (case.run.axis.one, "above the bulk", "bulk ends", "trace")
    return Listing("spectrum", "Spectrum", "Spectrum of the Hessian", words, header, tuple(rows))


def eigen(case: Case) -> Listing | None:
    """The loss deltas of each step in parts along the Hessian's top eigenvectors, and whom each moves most."""
    if case.mining is None or not case.mining.eigen:
        return None
    trace, rows = case.trace, []

    def ends(ids: Sequence[int], parts: Sequence[float]) -> str:
        some = np.array(ids[:ENDS], dtype=np.int64)
        labels = (
            [label_name(int(at), case.run.classes) for at in trace.labels[trace.positions(some)]]
            if ids
            else []
        )
        named = (
            f"{trace.naming.before(label)} {trace.naming.id(i)}"
            for label, i in zip(labels, ids, strict=False)
        )
        return ", ".join(f"{name} {signed(part)}".lstrip() for name, part in zip(named, parts, strict=False))

    most = sorted(
        case.mining.eigen, key=lambda change: -change.size * sum(part.size for part in change.parts)
    )
    for change in sorted(most[:EIGEN_STEPS], key=lambda change: change.step):
        named = [(f"v{at}", part) for at, part in enumerate(change.parts, start=1)]
        for name, part in (*named, ("outside", change.outside)):
            value = NOTHING if part.eigenvalue is None else number(part.eigenvalue)
            rows.append(
                (
                    *(
                        f"{change.step:,} → {change.next_step:,}",
                        name,
                        value,
                        percent(part.moved),
                        signed(part.mean),
                    ),
                    *(
                        percent(part.size),
                        ends(part.up_ids, part.up_parts),
                        ends(part.down_ids, part.down_parts),
                    ),
                )
            )
        whole = (
            f"{change.step:,} → {change.next_step:,}",
            "whole",
            NOTHING,
            percent(1.0),
            signed(change.mean_change),
        )
        rows.append(
            (*whole, percent(1.0), f"error {signed(change.error)} ({percent(change.error_size)})", "")
        )
    words: tuple[str, ...] = (
        "Each loss delta is the sum of its parts along the top eigenvectors of the Hessian at the first checkpoint, of "
        f"that outside of them, and of an error. Of step: share of its squared length. Mean"
        f"{case.run.loss_unit.within}. Size: mean magnitude over that of the deltas; parts of either sign cancel, so "
        "that sizes do not add up, means do.",
    )
    if len(most) > EIGEN_STEPS:
        shown = (
            f"{EIGEN_STEPS} of {len(most)} steps are shown, those in which they move most; --json has all."
        )
        words = (*words, shown)
    header = (case.run.axis.one, "along", "eigenvalue", "of step", "mean", "size", "rose most", "fell most")
    title = "Loss deltas along the top eigenvectors"
    return Listing("eigen", "Parts of deltas", title, words, header, tuple(rows))


def kept_results(case: Case) -> Listing | None:
    """Every result that the store keeps, and which ones are shown."""
    if not case.results:
        return None
    rows = tuple((r.name, _extent(case, r), "shown" if r.shown else "kept") for r in case.results)
    words: tuple[str, ...] = ()
    if any(not result.shown for result in case.results):
        words = ("opsig report --result NAME shows another one.",)
    return Listing(
        "results", "Results", "Results in the store", words, ("result", "extent", ""), rows, numbers=False
    )


def causal(case: Case) -> list[Listing]:
    """What training does without mined groups, a table for each comparison: means over its forks and draws."""
    digest, unit = case.mining.digest if case.mining else "", case.run.loss_unit
    found = []
    for number_of, made in enumerate(case.causal, start=1):
        whose = "the mined groups" if made.groups == digest else "groups that were mined otherwise"
        rows = []
        for name in dict.fromkeys(arm.removed for arm in made.arms):
            arms = [arm for arm in made.arms if arm.removed == name]
            members = np.mean([arm.members for arm in arms])
            rows.append(
                (
                    SHORTER.get(name, name.removeprefix("examples of ")),
                    f"{members:,.0f} of {arms[0].examples:,}",
                    *(_mean(arms, outcome) for outcome in OUTCOMES),
                )
            )
        told = (*made.notes, *sentences(made, unit), made.caveat) if made.arms else sentences(made, unit)
        words = [f"{capital(text.removesuffix('.'))}." for text in dict.fromkeys(told)]
        if made.arms:
            forks = len({arm.step for arm in made.arms})
            draws = sum(arm.removed == RANDOM for arm in made.arms) // forks
            words.append(
                f"Means over {count(forks, 'fork')}; random ones are of the same classes, {count(draws, 'draw')} at "
                "each fork. Members: of the groups, among those left out. λ₁: the sharpness at once, and then, after "
                f"the updates. Rises: the sum of those of the mean loss{unit.heading}. Swing: the amplitude of period "
                f"two{unit.heading}. Loss, and of the test data loss and share of right answers: after the updates."
            )
        words.append(f"Seed {made.seed}" + (f", test data {made.test_data}" if made.test_data else "") + ".")
        at = f", {count(made.updates, 'update')} from {case.run.axis.at(made.step)}" if made.arms else ""
        title = f"Without {whose}{at}"
        found.append(
            Listing(f"causal-{number_of}", "Without groups", title, tuple(words), HEADER, tuple(rows))
        )
    return found


def _mean(arms: Sequence[CausalArm], outcome: str) -> str:
    """The mean of one number over arms; a dash where some arm has none."""
    values = [getattr(arm, outcome) for arm in arms]
    return NOTHING if None in values else number(float(np.mean(values)))


def _extent(case: Case, result: Result) -> str:
    """How much a result holds."""
    if result.mining is not None:
        return f"{count(len(result.mining.pairs), 'pair')}, {count(result.mining.candidates, 'candidate')}"
    if result.virtual is not None:
        return count(len(result.virtual.rows), "checkpoint")
    points = result.sharpness or result.critical
    unlike = contradicted(result.sharpness)
    ratios = [
        p.ratio for p in points if p.ratio is not None and math.isfinite(p.ratio) and p.step not in unlike
    ]
    span = f", {case.run.axis.span(points[0].step, points[-1].step)}" if len(points) > 1 else ""
    peak = f", ratio at most {number(max(ratios))}" if ratios else ""
    return f"{count(len(points), 'checkpoint')}{span}{peak}"


def _spread(total: int, rows: int) -> list[int]:
    """So many places, evenly spread."""
    return [int(place) for place in np.unique(np.linspace(0, total - 1, min(rows, total)).astype(int))]

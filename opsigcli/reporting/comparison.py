"""Several runs side by side in a terminal, and the tables that the page shows as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from opsigcli.comparison_records import BOTH
from opsigcli.loss_unit import LossUnit, unit_of
from opsigcli.printable import count, printable
from opsigcli.reporting.format import NOTHING, number, score, shorten, signed
from opsigcli.reporting.listings import Listing, shown
from opsigcli.reporting.scales import Scale, value_scale
from opsigcli.reporting.tables import head
from opsigcli.reporting.textplot import TextPlot
from opsigcli.sentences import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from opsigcli.comparison_records import ComparedRun, Comparison, PairElsewhere
    from opsigcli.records import Floats

STYLES = ("", "yellow", "cyan", "green", "magenta", "red", "blue", "dim")
LETTERED = 4  # places along a curve that have its run's letter
LOSS_ROWS, RATIO_ROWS = 8, 4


def render_comparison(compared: Comparison) -> list[RenderableType]:
    """Curves on one axis, a column for each run, the examples they share, and what pairs do elsewhere."""
    runs = compared.runs
    found: list[RenderableType] = [Text(printable(title(compared)), style="bold"), loss_plot(runs)]
    if any(run.ratios for run in runs):
        found.append(ratio_plot(runs))
    for table in (settings, numbers, gains, pairs):
        found += shown(listing) if (listing := table(compared)) is not None else []
    found += [head("Examples"), *(Text(printable(line)) for line in shared_lines(compared))]
    if compared.notes:
        found += [head("Notes"), *(Text(f"- {printable(line)}") for line in compared.notes)]
    return found


def title(compared: Comparison) -> str:
    """What is compared, in a line."""
    names = ", ".join(f"{run.letter} {run.store}" for run in compared.runs)
    return say("runs: side by side", amount=len(compared.runs), names=names)


def curve_of(run: ComparedRun) -> Floats:
    """The mean loss that is compared: over the examples that all runs share, where there are some."""
    return run.mean_losses if run.shared_losses is None else run.shared_losses


def over_words(compared: Comparison) -> str:
    """Which examples the mean losses are over."""
    if all(run.examples == compared.shared_by_all for run in compared.runs):
        return say("runs: all examples")
    if compared.shared_by_all:
        return say("runs: shared examples", examples=count(compared.shared_by_all, "example"))
    return say("runs: own examples")


def span(runs: Sequence[ComparedRun]) -> Scale:
    """One axis of steps for all runs."""
    ends = [int(step) for run in runs for step in (run.steps[0], run.steps[-1])]
    return Scale(min(ends), max(ends))


def unit_in(runs: Sequence[ComparedRun]) -> LossUnit:
    """What the losses of all runs are in; nothing that has a name where they differ."""
    units = {unit_of(run.settings.get("loss", "")) for run in runs}
    return units.pop() if len(units) == 1 else LossUnit(log_likelihood=False)


def loss_plot(runs: Sequence[ComparedRun]) -> TextPlot:
    """The mean losses of all runs, each with its letter along the curve."""
    y = value_scale(np.concatenate([curve_of(run) for run in runs]), allow_log=True)
    plot = TextPlot(
        span(runs),
        y,
        LOSS_ROWS,
        f"Mean loss{unit_in(runs).heading}{' (log scale)' if y.log else ''}",
        runs[0].axis,
    )
    for style, run in zip(STYLES, runs, strict=False):
        curve = curve_of(run)
        plot.curve(run.steps, curve, style)
        rows = np.unique(np.linspace(0, len(run.steps) - 1, LETTERED + 2).astype(int))[1:-1]
        plot.points(
            run.steps[rows].tolist(), curve[rows].tolist(), [run.letter] * len(rows), f"bold {style}".strip()
        )
    return plot


def ratio_plot(runs: Sequence[ComparedRun]) -> TextPlot:
    """The stability ratios of all runs, a letter for each point."""
    values = [ratio for run in runs for ratio in run.ratios]
    x = span(runs)
    title = "Stability ratio, \u2504 edge of stability"
    plot = TextPlot(x, value_scale([*values, 1.0], allow_log=True), RATIO_ROWS, title, runs[0].axis)
    plot.limit(np.array([int(x.low), int(x.high)]), np.ones(2))
    for style, run in zip(STYLES, runs, strict=False):
        plot.points(run.ratio_steps, run.ratios, [run.letter] * len(run.ratios), f"bold {style}".strip())
    return plot


def settings(compared: Comparison) -> Listing | None:
    """What the runs were made with where they differ."""
    if not compared.differing:
        return None
    rows = tuple(
        (name, *(run.settings.get(name, NOTHING) for run in compared.runs)) for name in compared.differing
    )
    alike = [name for name in compared.runs[0].settings if name not in compared.differing]
    words = (f"Alike in all: {', '.join(alike)}.",) if alike else ()
    return Listing("settings", "Settings", "What differs", words, _header(compared), rows, numbers=False)


def numbers(compared: Comparison) -> Listing:
    """Loss, spikes and stability ratio of every run."""
    runs = compared.runs
    rows = (
        ("checkpoints", *(f"{len(run.steps):,}" for run in runs)),
        ("examples", *(f"{run.examples:,}" for run in runs)),
        ("first mean loss", *(_end(run, 0) for run in runs)),
        ("last mean loss", *(_end(run, -1) for run in runs)),
        ("lowest mean loss", *(number(_lowest(run), 4) for run in runs)),
        ("spikes", *(f"{len(run.spikes):,}" for run in runs)),
        ("sum of their rises", *(number(sum(run.rises)) for run in runs)),
        ("largest one", *(_largest(run) for run in runs)),
        ("held by", *(shorten(run.holders, 24) or NOTHING for run in runs)),
        ("largest ratio", *(_peak(run) for run in runs)),
        ("last ratio", *(number(run.ratios[-1]) if run.ratios else NOTHING for run in runs)),
        ("at 1 or above", *(_above(run) for run in runs)),
        (
            "pairs, findings",
            *(", ".join(map(_amount, (run.pairs, run.findings))) for run in runs),
        ),
    )
    own = any(run.examples != compared.shared_by_all for run in runs) and compared.shared_by_all
    words = (
        f"Mean losses{unit_in(compared.runs).within}, over {over_words(compared)}{'; ' if own else '. '}"
        f"{'spikes of the mean over all examples of each run. ' if own else ''}"
        f"Ratio: {_ratio_of(runs)} over its "
        "stability threshold, at the checkpoints where it was measured and converged.",
    )
    return Listing("numbers", "Numbers", "Loss, spikes and sharpness", words, _header(compared), rows)


def gains(compared: Comparison) -> Listing | None:
    """Which groups gain and lose in every run."""
    told = compared.gains
    if told is None:
        return None
    axis, unit = compared.runs[0].axis, unit_in(compared.runs)
    rows = tuple(
        (gain.group, f"{gain.members:,}", *(signed(change) for change in gain.changes))
        for gain in told.groups
    )
    words = (
        f"Change of the mean loss from {axis.at(told.step)}, up to which the runs are the same, to the mean over the "
        f"{axis.many} {told.first} to {told.last} that all have{unit.heading}; below 0 the group gains.",
    )
    header = ("group", "members", *(run.letter for run in compared.runs))
    return Listing("gains", "Gains", "Which groups gain and which lose", words, header, rows)


def pairs(compared: Comparison) -> Listing | None:
    """What the groups of every run do in the others."""
    if not compared.elsewhere:
        return None
    rows, unit = tuple(_row(found) for found in compared.elsewhere), unit_in(compared.runs)
    words = (
        "r: correlation of the two groups' mean high-passed loss deltas after the first 10 % of the steps, where the "
        "pair was mined, and there; -1 is anti-phase. Apart: root mean square of their difference there"
        f"{unit.heading}. Null: random groups of the same labels and sizes there, mean; p: share of them as far "
        "apart, of one pair. "
        "Same as: the pair mined there that shares most members, and how much (Jaccard).",
    )
    header = ("pair", "in", "members", "r", "r there", "apart", "null", "p", "they move", "same as")
    return Listing(
        "pairs", "Pairs", "What each run's pairs do in the others", words, header, rows, numbers=False
    )


def shared_lines(compared: Comparison) -> list[str]:
    """How many examples each two runs share, as sentences."""
    lines = []
    for shared in compared.shared:
        both = {"first": shared.first, "second": shared.second}
        if shared.refused:
            lines.append(say("runs: refused", **both, why=shared.refused))
            continue
        ids, stand = count(shared.changed or 0, "id"), "stands" if shared.changed == 1 else "stand"
        lines.append(
            say(
                "runs: the same",
                **both,
                same=f"{shared.same:,}",
                of=" and ".join(f"{n:,}" for n in dict.fromkeys(shared.examples)),
                told="id and content" if shared.told_by == "contents" else "id, in data of one fingerprint",
                changed=say("runs: changed", ids=ids, stand=stand) if shared.changed else "",
            )
        )
    return lines


def _row(found: PairElsewhere) -> tuple[str, ...]:
    before, phase, apart = found.anti_phase_before, found.anti_phase, found.amplitude
    return (
        f"{found.mined_in} {found.pair}",
        found.seen_in,
        f"{sum(found.shared)} of {sum(found.sizes)}",
        NOTHING if before is None else score(before.value),
        NOTHING if phase is None else score(phase.value),
        NOTHING if apart is None else number(apart.value, 2),
        NOTHING if apart is None else number(apart.null, 2),
        NOTHING if apart is None or apart.p_value is None else f"{apart.p_value:.2g}",
        found.said,
        NOTHING if found.again is None else f"{found.again} ({score(found.overlap)})",
    )


def _header(compared: Comparison) -> tuple[str, ...]:
    return ("", *(run.letter for run in compared.runs))


def _end(run: ComparedRun, at: int) -> str:
    """The mean loss at the first or the last checkpoint itself; that it is none there, and no other in its place."""
    loss = float(curve_of(run)[at])
    return number(loss, 4) if np.isfinite(loss) else "not finite"


def _amount(amount: int | None) -> str:
    return NOTHING if amount is None else f"{amount}"


def _lowest(run: ComparedRun) -> float | None:
    known = curve_of(run)[np.isfinite(curve_of(run))]
    return float(known.min()) if len(known) else None


def _largest(run: ComparedRun) -> str:
    if not run.rises:
        return NOTHING
    at = int(np.argmax(run.rises))
    return f"{signed(run.rises[at])} to {run.axis.at(run.spikes[at])}"


def _peak(run: ComparedRun) -> str:
    if not run.ratios:
        return NOTHING
    at = int(np.argmax(run.ratios))
    return f"{number(run.ratios[at])} at {run.axis.at(run.ratio_steps[at])}"


def _above(run: ComparedRun) -> str:
    return (
        f"{sum(r >= 1 for r in run.ratios)} of {len(run.ratios)} (of {len(run.steps):,})"
        if run.ratios
        else NOTHING
    )


def _ratio_of(runs: Sequence[ComparedRun]) -> str:
    kinds = dict.fromkeys(kind for run in runs if run.ratios for kind in run.sharpness.split(BOTH))
    return " or ".join(kinds) or "sharpness"

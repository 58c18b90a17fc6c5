"""Tables of what mining found, for a terminal: pairs and top examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from opsigcli.axis import STEPS
from opsigcli.printable import count, printable
from opsigcli.reporting.findings import FOUND, by_standing
from opsigcli.reporting.format import MARKS, NOTHING, label_name, labels_text, score, shorten, signed
from opsigcli.reporting.scales import Scale
from opsigcli.reporting.summary import delta_row, evidence_of, group_curves, member_marks
from opsigcli.reporting.textplot import sparkline
from opsigcli.reporting.top_steps import strongest_top
from opsigcli.sentences import percent
from opsigcli.token_ids import LABELLED, Naming

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.mining_records import (
        Evidence,
        Mining,
        Pair,
        Side,
    )
    from opsigcli.records import LossTrace

STYLES: Mapping[Side, str] = {"first": "yellow", "second": "cyan"}
CLOSE_UP = 12  # checkpoints on each side of a pair's strongest change


def head(words: str) -> RenderableType:
    """The heading of a part."""
    return Padding(Text(words, style="bold"), (1, 0, 0, 0))


def table_of(*columns: tuple[str, str]) -> Table:
    """A table of (heading, kind) columns; kind is right, short (cut when narrow) or empty (folded when narrow)."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False
    )
    for heading, kind in columns:
        table.add_column(
            heading,
            justify="right" if kind == "right" else "left",
            no_wrap=kind == "short",
            overflow="ellipsis" if kind == "short" else "fold",
        )
    return table


def pairs(mining: Mining, trace: LossTrace | None, *, fold: bool = False) -> list[RenderableType]:
    """Every pair: its groups, its evidence beside the null, the verdict and its reasons; findings first.

    Args:
        mining: what was found.
        trace: of the groups' losses.
        fold: a line is enough for pairs that are no findings.
    """
    if not mining.pairs:
        axis = trace.axis if trace else STEPS
        steps = ", ".join(f"{step:,}" for step in mining.gradient_steps) or NOTHING
        looked = (
            f"No pair of opposing groups was found. Looked at: {count(mining.candidates, 'candidate example')}, "
            f"gradients compared at {axis.many} {steps}."
        )
        return [head("Pairs"), Text(looked)]
    shown: list[RenderableType] = []
    for standing, some in by_standing(mining).items():
        whole = standing == FOUND or not fold
        title = "Pairs" if standing == FOUND else f"Pairs {standing}"
        shown += [head(title), *(_whole(some, trace) if whole else _folded(some))]
    return shown


def _folded(some: Sequence[tuple[int, Pair]]) -> list[RenderableType]:
    """A line for every pair."""
    lines = []
    for index, pair in some:
        p_value = clarity.p_value if (clarity := pair.evidence.get("clarity")) else None
        after = "" if p_value is None else f", p {p_value:.2g} after selection"
        sizes = " against ".join(count(len(group.ids), "example") for group in pair.groups.values())
        lines.append(Text(printable(f"Pair {index}: {sizes}; {pair.verdict}{after}"), style="dim"))
    return [*lines]


def _whole(some: Sequence[tuple[int, Pair]], trace: LossTrace | None) -> list[RenderableType]:
    """The pairs with their evidence, and the reasons of their verdicts."""
    table = table_of(
        ("pair", ""), ("groups", ""), ("opposition", ""), ("gradient cosine", ""), ("loss change", "")
    )
    naming = trace.naming if trace else LABELLED
    for index, pair in some:
        evidence = evidence_of(pair)
        table.add_row(
            str(index),
            _groups(pair, naming),
            _held_against(evidence.get("opposition")),
            _held_against(evidence.get("gradient_cosine")),
            _share(evidence),
        )
    shown: list[RenderableType] = [table]
    for index, pair in some:
        verdict = Text(f"\nPair {index}: ")
        verdict.append(printable(pair.verdict), style="bold")
        shown.append(verdict)
        shown += [
            Padding(Text(f"- {printable(reason)}", style="dim"), (0, 0, 0, 2)) for reason in pair.reasons
        ]
        shown += _shared(pair, trace)
        shown += _swing(pair, trace)
    return shown


def _shared(pair: Pair, trace: LossTrace | None) -> list[RenderableType]:
    """What the groups share that can be seen, and the member nearest to each group's centroid."""
    found = [
        f"{name} {score(e.value)} (null {score(e.null)}, p {e.p_value:.2g})"
        for name, e in pair.evidence.items()
        if e.feature and e.p_value is not None
    ]
    ids = {side: group.nearest for side, group in pair.groups.items() if group.nearest is not None}
    names = trace.names_at(trace.positions(np.array([*ids.values()]))) if trace and ids else [""] * len(ids)
    naming = trace.naming if trace else LABELLED
    nearest = [
        f"{MARKS[side]} {naming.id(example)}" + (f" {naming.context(name)}" if name else "")
        for (side, example), name in zip(ids.items(), names, strict=True)
    ]
    lines = [f"shared: {'; '.join(found)}"] if found else []
    lines += [f"nearest to the centroid: {', '.join(nearest)}"] if nearest else []
    return [Padding(Text(f"- {printable(line)}", style="dim"), (0, 0, 0, 2)) for line in lines]


def _groups(pair: Pair, naming: Naming) -> Text:
    """Both groups in two lines: size, and labels where there are any."""
    text = Text()
    for side, group in pair.groups.items():
        text.append("\n" if text else "").append(MARKS[side], style=STYLES[side])
        labels = labels_text(
            {naming.quoted(shorten(printable(name), 14)): n for name, n in group.labels.items()}, 24
        )
        text.append(f" {len(group.ids):,}" + (f": {labels}" if naming.label else ""))
    return text


def _held_against(evidence: Evidence | None) -> Text:
    if evidence is None:
        return Text(NOTHING)
    text = Text(score(evidence.value))
    return text.append(f"\nnull {score(evidence.null)}", style="dim")


def _share(evidence: dict[str, Evidence]) -> Text:
    """The pair's share of the loss change, beside its fraction of the data."""
    share, ratio = evidence.get("share_of_loss_change"), evidence.get("share_ratio")
    if share is None:
        return Text(NOTHING)
    text = Text(percent(share.value))
    if ratio is not None and ratio.value > 0:
        text.append(f"\nof {percent(share.value / ratio.value)} data", style="dim")
    return text


def _swing(pair: Pair, trace: LossTrace | None) -> list[RenderableType]:
    """The groups' mean losses around the pair's strongest change, as two sparklines on one scale."""
    row = delta_row(trace, pair.strongest_step) if trace else None
    if trace is None or row is None or len(trace.steps) < 4:
        return []
    part = slice(max(0, row - CLOSE_UP), row + 2 + CLOSE_UP)
    curves = group_curves(trace, [*pair.groups.values()], part)
    both = np.concatenate(curves)
    both = both[np.isfinite(both)]
    if not len(both):
        return []
    scale = Scale(float(both.min()), float(both.max()))
    steps = trace.steps[part]
    lines = Text(no_wrap=True)
    for (side, style), curve in zip(STYLES.items(), curves, strict=True):
        lines.append(f"{MARKS[side]} {sparkline(curve, scale)}\n", style=style)
    lines.append(f"  mean losses, {trace.axis.span(int(steps[0]), int(steps[-1]))}", style="dim")
    return [Padding(lines, (0, 0, 0, 2))]


def top(
    mining: Mining, classes: Sequence[str], trace: LossTrace | None, rows: int | None
) -> list[RenderableType]:
    """The examples with the largest loss deltas at the strongest change."""
    strongest = strongest_top(mining, 1)
    if not strongest:
        return []
    largest = strongest[0]
    member_of = member_marks(mining)
    shown = np.concatenate([largest.up_ids[:rows], largest.down_ids[:rows]])
    naming = trace.naming if trace else LABELLED
    labels, contexts = dict.fromkeys(shown.tolist(), NOTHING), dict.fromkeys(shown.tolist(), "")
    if trace is not None and len(shown):
        places = trace.positions(shown)
        of = zip(shown.tolist(), trace.labels[places].tolist(), trace.names_at(places), strict=True)
        for example, label, name in of:
            labels[example] = shorten(printable(label_name(label, classes)), 12)
            contexts[example] = printable(naming.context(name))
    heads = [
        ("id", "right"),
        *([(naming.label, "short")] if naming.label else []),
        ("delta", "right"),
        ("pair", ""),
    ]

    def row(example: int, delta: float) -> list[Text | str]:
        label: list[Text | str] = [Text(labels[example])] if naming.label else []
        return [naming.id(example), *label, signed(delta), member_of.get(example, "")]

    up, down = (
        [(int(i), row(int(i), float(delta))) for i, delta in zip(ids[:rows], deltas[:rows], strict=True)]
        for ids, deltas in ((largest.up_ids, largest.up_deltas), (largest.down_ids, largest.down_deltas))
    )
    if naming.in_documents and any(contexts.values()):  # a text needs the width of both sides
        table = table_of(("", ""), *heads, ("text, the token marked", ""))
        for word, side in (("up", up), ("down", down)):
            for example, cells in side:
                table.add_row(word, *cells, Text(contexts[example]))
    else:
        others = heads[1:]
        table = table_of(("up: id", "right"), *others, ("down: id", "right"), *others)
        empty: list[Text | str] = [""] * len(heads)
        for (_, left), (_, right) in zip_longest(up, down, fillvalue=(0, empty)):
            table.add_row(*left, *right)
    axis = trace.axis if trace else STEPS
    span = f"from {axis.between(largest.step, largest.next_step)}"
    title = (
        f"Top loss deltas{trace.unit.heading if trace else ''}, {span}, the strongest of {len(mining.top):,}"
    )
    return [head(title), table]

"""What the page shows of spikes: the first screen, classes by spike, and what parts the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsigcli.reporting.first_screen import held_together, largest, next_steps, spike_lines, stability, told
from opsigcli.reporting.format import NOTHING, signed
from opsigcli.reporting.galleries import spike_galleries
from opsigcli.reporting.spike_tables import SIGNIFICANT, class_columns
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.axis import Axis
    from opsigcli.mining_records import (
        Spike,
    )
    from opsigcli.records import Case
    from opsigcli.reporting.pictures import Album
    from opsigcli.spike_records import Share

FIRST_CAUSES = 3  # spikes on the first screen
DETAILED = 12  # spikes whose parts are listed
ROWS = 16  # of a table of parts; the smaller ones are one
COLUMNS = 12  # classes of the table of classes by spike


def first_view(case: Case, album: Album) -> dict[str, Any]:
    """The first screen: causes, what moved most, how near the edge, what to run next."""
    known = told(case)
    most = max(known, key=lambda spike: spike.rise, default=None)
    together = held_together(case)
    return {
        "together": f"{together}." if together else "",
        "causes": [
            {"span": line.span, "rise": line.rise, "strength": line.strength, "words": line.words}
            for line in spike_lines(case, FIRST_CAUSES)
        ],
        "omitted": max(len(case.spikes) - min(len(known), FIRST_CAUSES), 0),
        "moved": [] if most is None else spike_galleries(case, most, album),
        "between": "" if most is None else case.run.axis.between(most.step, most.next_step),
        "stability": stability(case),
        "next": next_steps(case),
    }


def class_table(case: Case) -> dict[str, Any] | None:
    """Share of each rise by class, beside what is expected from its size."""
    known = told(case)
    names = class_columns(known, COLUMNS)
    if len(names) < 2:
        return None
    unit = case.run.loss_unit.after
    rows, expected = [], dict.fromkeys(names, 0.0)
    for spike in known:
        assert spike.cause is not None
        of = {share.name: share for share in spike.cause.classes}
        expected |= {name: of[name].expected for name in names if name in of}
        cells = [_class_cell(of.get(name), name in spike.cause.falling, unit) for name in names]
        rows.append({"step": f"{spike.step:,}", "rise": signed(spike.rise), "cells": cells})
    return {"names": names, "rows": rows, "expected": [percent(expected[name]) for name in names]}


def _class_cell(share: Share | None, fell: bool, unit: str) -> dict[str, Any]:
    if share is None:
        return {"text": NOTHING, "bold": False, "fell": False, "title": ""}
    return {
        "text": percent(share.share),
        "bold": share.p_value is not None and share.p_value <= SIGNIFICANT,
        "fell": fell,
        "title": f"mean loss {signed(share.change)}{unit}, its part of the rise {signed(share.contribution)}{unit}",
    }


def details(case: Case) -> list[dict[str, Any]]:
    """The parts of the largest spikes, a table for each way to part them."""
    kind = case.trace.naming.kind
    return [_detail(spike, case.run.axis, kind) for spike in largest(told(case), DETAILED)]


def _detail(spike: Spike, axis: Axis, kind: str) -> dict[str, Any]:
    cause = spike.cause
    assert cause is not None
    tables = [_table(f"by {kind}", cause.classes)] if len(cause.classes) > 1 else []
    if cause.named and cause.held is not None:
        half = f"the {kind} or those named together, on the half of the examples that did not choose them"
        tables.append(_table(half, (cause.held,)))
    tables += [
        _table(
            f"{split.of or 'all examples'} by {split.feature}, on the half that did not choose it "
            f"(Spearman {split.correlation:.2f}, p {split.p_value:.2g}"
            + (f", again in {split.again} of {split.others} other spikes)" if split.others else ")"),
            split.parts,
        )
        for split in cause.features
    ]
    if cause.confidence:
        tables.append(
            _table("by p = exp(\u2212loss) of the label at the checkpoint before", cause.confidence)
        )
    if cause.groups:
        tables.append(_table("by group of a mined pair, beside class-matched random groups", cause.groups))
    return {
        "span": axis.between(spike.step, spike.next_step),
        "rise": signed(spike.rise),
        "strength": cause.strength,
        "words": cause.words,
        "tables": tables,
    }


def _table(title: str, shares: Sequence[Share]) -> dict[str, Any]:
    listed = shares if len(shares) <= ROWS else shares[: ROWS - 1]
    rows = [
        (
            share.name,
            f"{share.examples:,}",
            percent(share.share),
            percent(share.expected),
            f"{percent(share.low)} to {percent(share.high)}",
            NOTHING if share.p_value is None else f"{share.p_value:.2g}",
            signed(share.change),
            signed(share.contribution),
        )
        for share in listed
    ]
    others = shares[len(listed) :]
    if others:
        held, expected, moved = (
            sum(getattr(share, name) for share in others) for name in ("share", "expected", "contribution")
        )
        size = f"{sum(share.examples for share in others):,}"
        more = f"{len(others):,} others"
        rows.append((more, size, percent(held), percent(expected), NOTHING, NOTHING, NOTHING, signed(moved)))
    return {"title": title, "rows": rows}

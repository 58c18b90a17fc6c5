"""Spikes in a terminal: their attribution, their rise by class, and the cause of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from opsigcli.axis import STEPS, Axis
from opsigcli.mining_records import (
    REST,
)
from opsigcli.printable import count, printable
from opsigcli.reporting.first_screen import largest
from opsigcli.reporting.format import MARKS, NOTHING, shorten, signed
from opsigcli.reporting.tables import head, table_of
from opsigcli.sentences import percent, say
from opsigcli.token_ids import LABELLED, Naming

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.mining_records import (
        Spike,
    )

SPIKE_ROWS = 8  # the largest ones
HOLDERS = 2  # groups named for each spike
REST_CLASSES = 3  # classes named of the rest
CLASS_COLUMNS = 6  # of the table of classes by spike
SIGNIFICANT = 0.05


def spikes(
    found: Sequence[Spike],
    axis: Axis = STEPS,
    naming: Naming = LABELLED,
    largest_rise: Spike | None = None,
    none: str = "",
) -> list[RenderableType]:
    """The largest spikes: the attribution of their rise, its share by class, and the cause of each.

    Args:
        found: all spikes.
        axis: what the steps count.
        naming: of examples.
        largest_rise: where there is no spike.
        none: what is said there.
    """
    if not found:
        said = Text(printable(none or say("spikes: none", apart="")))
        rises = [] if largest_rise is None else [largest_rise]
        return [head("Spikes"), said, *_classes(rises, naming.kind), *_causes(rises, axis)]
    shown_spikes = largest(found, SPIKE_ROWS)
    table = table_of(
        (f"from {axis.one}", "right"),
        (f"to {axis.one}", "right"),
        ("rise", "right"),
        ("attribution (positive loss deltas)", ""),
    )
    for spike in shown_spikes:
        table.add_row(
            f"{spike.step:,}",
            f"{spike.next_step:,}",
            signed(spike.rise),
            printable(_attribution(spike, naming.kind)),
        )
    shown: list[RenderableType] = [head("Spikes of the mean loss"), table]
    if len(found) > len(shown_spikes):
        shown.append(Text(f"The {len(shown_spikes)} largest of {len(found)} are shown.", style="dim"))
    return shown + _classes(shown_spikes, naming.kind) + _causes(shown_spikes, axis)


def _attribution(spike: Spike, kind: str) -> str:
    """The groups with the largest shares of a rise, the other groups together, and the rest by class."""
    shares = spike.share_of_rise
    groups = sorted((key for key in shares if key != REST), key=lambda key: (-shares[key], key))
    words = [f"pair {key.pair} {MARKS[key.side]} {percent(shares[key])}" for key in groups[:HOLDERS]]
    if groups[HOLDERS:]:
        words.append(f"other groups {percent(sum(shares[key] for key in groups[HOLDERS:]))}")
    rest = f"rest {percent(shares.get(REST, 0.0))}" if groups else f"by {kind}"
    parts = rest_parts(spike)
    each = ", ".join(f"{shorten(name, 14)} {percent(share)}" for name, share in parts[:REST_CLASSES])
    more = sum(share for _, share in parts[REST_CLASSES:])
    each += f", {count(len(parts) - REST_CLASSES, 'other')} {percent(more)}" if parts[REST_CLASSES:] else ""
    return ", ".join([*words, f"{rest}: {each}" if each else f"rest {percent(shares.get(REST, 0.0))}"])


def rest_parts(spike: Spike) -> list[tuple[str, float]]:
    """What the examples in no group hold of the rise, by class, largest first; [] where that was not looked at."""
    if spike.cause is None or len(spike.cause.classes) < 2:
        return []
    return list(spike.cause.rest.items()) or [(share.name, share.share) for share in spike.cause.classes]


def class_columns(found: Sequence[Spike], limit: int) -> list[str]:
    """The classes that hold most of the rises together."""
    held: dict[str, float] = {}
    for spike in found:
        for share in spike.cause.classes if spike.cause else ():
            held[share.name] = held.get(share.name, 0.0) + share.share
    return sorted(held, key=lambda name: -held[name])[:limit]


def _classes(found: Sequence[Spike], kind: str) -> list[RenderableType]:
    """Class by spike: the share of the rise, and whether the class's own mean loss fell."""
    names = class_columns(found, CLASS_COLUMNS)
    if len(names) < 2:
        return []
    table = table_of(("from", "right"), *((shorten(printable(name), 10), "right") for name in names))
    expected: dict[str, float] = {}
    for spike in found:
        if spike.cause is None:
            continue
        of = {share.name: share for share in spike.cause.classes}
        expected |= {name: of[name].expected for name in names if name in of}
        cells = []
        for name in names:
            clear = name in of and of[name].p_value is not None and (of[name].p_value or 0.0) <= SIGNIFICANT
            text = percent(of[name].share) if name in of else NOTHING
            fell = " \u25bc" if name in spike.cause.falling else ""
            cells.append(Text(text + fell, style="bold" if clear else ""))
        table.add_row(f"{spike.step:,}", *cells)
    table.add_row(
        Text("expected", style="dim"), *(Text(percent(expected[name]), style="dim") for name in names)
    )
    many = "classes" if kind == "class" else f"{kind}s"
    words = (
        f"Share of each rise by {kind} (of all positive loss deltas, adds to 100% over all {many}); expected from its "
        f"size; bold: p \u2264 .05; \u25bc: the {kind}'s own mean loss fell."
    )
    return [head(f"Spikes by {kind}"), table, Text(words, style="dim")]


def _causes(found: Sequence[Spike], axis: Axis) -> list[RenderableType]:
    """The cause of each spike, and how sure the network was of what rose in the largest one."""
    told = [spike for spike in found if spike.cause is not None]
    if not told:
        return []
    shown: list[RenderableType] = [head("Causes")]
    for spike in told:
        assert spike.cause is not None
        line = Text(f"- {axis.between(spike.step, spike.next_step)}, ")
        line.append(spike.cause.strength, style="bold")
        shown.append(line.append(f": {printable(spike.cause.words)}"))
    most = max(told, key=lambda spike: spike.rise)
    if most.cause is not None and most.cause.confidence:
        parts = "; ".join(
            f"{share.name}: {percent(share.share)} (as many of the same classes {percent(share.expected)})"
            for share in most.cause.confidence
        )
        shown.append(Text(f"- of the rise from {axis.at(most.step)}: {parts}; p = exp(-loss)", style="dim"))
    return shown

"""The spike table of the page: each rise cut into the shares of groups and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsigcli.mining_records import REST
from opsigcli.reporting.format import group_mark, signed
from opsigcli.reporting.glyphs import shares
from opsigcli.reporting.spike_tables import rest_parts
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from opsigcli.mining_records import GroupKey, Spike
    from opsigcli.records import Case

CLASSES = 5  # named of the rest of a rise
FIRST_SPIKES = 60  # rows of the table, largest rises first when there are more
NAMED = 3  # shares of a rise that are read at once, largest first; the others are folded


def spike_rows(case: Case) -> dict[str, Any] | None:
    """The spike table: the attribution of each rise, beside each group's fraction of the data."""
    if not case.spikes:
        return None
    total = len(case.trace.example_ids)
    groups = case.mining.groups if case.mining else {}
    fractions = {key: len(group.ids) / total for key, group in groups.items()}
    fractions[REST] = 1 - len({int(i) for group in groups.values() for i in group.ids}) / total
    largest = sorted(case.spikes, key=lambda spike: -spike.rise)[:FIRST_SPIKES]
    rows = []
    for spike in sorted(largest, key=lambda spike: spike.step):
        parts = _attribution(spike, fractions)
        rows.append(
            {
                "step": f"{spike.step:,}",
                "next_step": f"{spike.next_step:,}",
                "rise": signed(spike.rise),
                "bar": shares([(part.mark, part.share, part.role) for part in parts]),
                "attribution": sorted(parts, key=lambda part: -part.share)[:NAMED],
                "more": sorted(parts, key=lambda part: -part.share)[NAMED:],
            }
        )
    return {
        "rows": rows,
        "omitted": len(case.spikes) - len(rows),
    }


@dataclass(frozen=True)
class Part:
    """A group's part of a spike's rise, or a class's part of the rest."""

    mark: str
    name: str
    share: float
    role: str  # colour
    words: str


def _attribution(spike: Spike, fractions: Mapping[GroupKey, float]) -> list[Part]:
    """A spike's rise by group, with each group's fraction of the data, and the rest by class."""
    parts = []
    for key, share in spike.share_of_rise.items():
        if key == REST and (classes := rest_parts(spike)):
            parts += [
                Part(name, f"{name}, in no group", part, "muted", percent(part))
                for name, part in classes[:CLASSES]
            ]
            more = sum(part for _, part in classes[CLASSES:])
            parts += (
                [Part("others", "other classes", more, "muted", percent(more))] if classes[CLASSES:] else []
            )
            continue
        words = percent(share) + (f" (of the data {percent(fractions[key])})" if key in fractions else "")
        parts.append(Part(group_mark(key), str(key), share, "muted" if key == REST else key.side, words))
    return parts

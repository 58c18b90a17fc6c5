"""Examples side by side: the members of a pair's groups, and the largest loss deltas of a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsigcli.reporting.format import count, label_name, labels_text, number, signed
from opsigcli.reporting.summary import delta_row, member_marks, strongest_top

if TYPE_CHECKING:
    from opsigcli.records import Case, Group, Ints, Mining
    from opsigcli.reporting.pictures import Album

TOP_STEPS = 3  # steps whose top examples are shown
TOP_EXAMPLES = 6  # on each side of such a step


@dataclass(frozen=True)
class Tile:
    """One example as the report shows it."""

    example: int
    label: str
    name: str
    picture: str | None
    delta: str
    loss: str  # before and after
    mark: str = ""  # its pair and side where no heading says them; "nearest" for a prototype

    @property
    def words(self) -> str:
        """What the picture is, for those who do not see it."""
        name = f", {self.name}" if self.name else ""
        return f"example {self.example}{name}, {self.label}, loss {self.loss}, delta {self.delta} nats"


@dataclass(frozen=True)
class Gallery:
    """Examples under one heading."""

    role: str  # "first" or "second" of a pair, "up" or "down" for top examples
    title: str
    labels: str
    tiles: tuple[Tile, ...]
    omitted: int
    pictured: bool


def group_gallery(
    case: Case, group: Group, role: str, row: int | None, album: Album, per_group: int
) -> Gallery:
    """Members of a group: the nearest prototype, then those whose loss changed most at the pair's strongest step."""
    trace = case.trace
    positions = trace.positions(group.ids)
    members = [(position, *_losses(case, row, position)) for position in positions.tolist()]
    members.sort(
        key=lambda member: -abs(member[2] - member[1]) if math.isfinite(member[2] - member[1]) else 0.0
    )
    pictured = any(int(trace.example_ids[position]) in album for position, *_ in members)
    if pictured:
        members.sort(key=lambda member: int(trace.example_ids[member[0]]) not in album)
    members.sort(key=lambda member: int(trace.example_ids[member[0]]) != group.nearest)
    tiles = tuple(
        _tile(case, p, a, b, album, "nearest" if int(trace.example_ids[p]) == group.nearest else "")
        for p, a, b in members[:per_group]
    )
    return Gallery(
        role,
        f"{role.capitalize()} group: {count(len(members), 'example')}",
        labels_text(group.labels, 70),
        tiles,
        len(members) - len(tiles),
        pictured,
    )


def _losses(case: Case, row: int | None, position: int) -> tuple[float, float]:
    """An example's losses at a checkpoint and at the next."""
    if row is None:
        return math.nan, math.nan
    return float(case.trace.losses[row, position]), float(case.trace.losses[row + 1, position])


def _tile(case: Case, position: int, before: float, after: float, album: Album, mark: str = "") -> Tile:
    trace = case.trace
    example = int(trace.example_ids[position])
    return Tile(
        example,
        label_name(int(trace.labels[position]), case.run.classes),
        trace.names[position] if trace.names else "",
        album.uri(example),
        signed(after - before),
        f"{number(before)} \u2192 {number(after)}",
        mark,
    )


def top_ids(mining: Mining) -> list[int]:
    """Ids of the top examples a report shows, without repetition: a store that keeps their pictures is enough."""
    tops = strongest_top(mining, TOP_STEPS)
    ids = [int(i) for top in tops for side in (top.up_ids, top.down_ids) for i in side[:TOP_EXAMPLES]]
    return list(dict.fromkeys(ids))


def top_galleries(case: Case, album: Album) -> list[dict[str, Any]]:
    """The examples whose loss changed most, at the steps with the largest changes."""
    if case.mining is None:
        return []
    member_of = member_marks(case.mining)
    shown = []
    for top in strongest_top(case.mining, TOP_STEPS):
        row = delta_row(case.trace, top.step)
        sides = [
            _top_side(case, "up", "Loss went up most", top.up_ids, row, album, member_of),
            _top_side(case, "down", "Loss went down most", top.down_ids, row, album, member_of),
        ]
        shown.append({"between": f"step {top.step:,} to {top.next_step:,}", "galleries": sides})
    return shown


def _top_side(
    case: Case, role: str, title: str, ids: Ints, row: int | None, album: Album, member_of: Mapping[int, str]
) -> Gallery:
    tiles = []
    for position in case.trace.positions(ids[:TOP_EXAMPLES]).tolist():
        before, after = _losses(case, row, position)
        mark = member_of.get(int(case.trace.example_ids[position]), "")
        tiles.append(_tile(case, position, before, after, album, mark))
    labels: dict[str, int] = {}
    for position in case.trace.positions(ids).tolist():
        name = label_name(int(case.trace.labels[position]), case.run.classes)
        labels[name] = labels.get(name, 0) + 1
    by_size = dict(sorted(labels.items(), key=lambda item: (-item[1], item[0])))
    pictured = any(tile.picture for tile in tiles)
    return Gallery(role, title, labels_text(by_size, 70), tuple(tiles), len(ids) - len(tiles), pictured)

"""Examples side by side: the members of a pair's groups, and the largest loss deltas of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.printable import count
from opsigcli.reporting.format import label_name, labels_text, number, signed
from opsigcli.reporting.summary import delta_row, member_marks
from opsigcli.reporting.top_steps import strongest_top

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        EigenChange,
        EigenPart,
        Group,
        Mining,
        Spike,
    )
    from opsigcli.records import Case, Floats, Ints
    from opsigcli.reporting.pictures import Album

TOP_STEPS = 3  # steps whose top examples are shown
TOP_EXAMPLES = 6  # on each side of such a step


@dataclass(frozen=True)
class Tile:
    """One example as the report shows it."""

    example: str  # its id
    label: str  # "" where examples have none
    name: str
    picture: str | None
    delta: str
    loss: str  # before and after
    unit: str = " nats"  # behind the delta
    mark: str = ""  # its pair and side where no heading says them; "nearest" for a prototype

    @property
    def words(self) -> str:
        """What the picture is, for those who do not see it."""
        named = "".join(f", {part}" for part in (self.name, self.label) if part)
        return f"example {self.example}{named}, loss {self.loss}, delta {self.delta}{self.unit}"


@dataclass(frozen=True)
class Gallery:
    """Examples under one heading."""

    role: str  # "first" or "second" of a pair, "up" or "down" for top examples
    title: str
    labels: str
    tiles: tuple[Tile, ...]
    omitted: int
    pictured: bool
    others: tuple[str, ...] = ()  # ids of those that are not shown
    file: str = ""  # address of a file of them, in place of their ids


def group_gallery(
    case: Case, group: Group, role: str, row: int | None, album: Album, per_group: int
) -> Gallery:
    """Members of a group: the nearest prototype, then those whose loss changed most at the pair's strongest change."""
    positions = case.trace.positions(group.ids)
    losses = _around(case, row, positions)
    change = np.abs(losses[1] - losses[0])
    bare = np.array([int(example) not in album for example in group.ids], dtype=bool)
    nearest = group.ids == group.nearest
    order = np.lexsort((-np.where(np.isfinite(change), change, 0), bare, ~nearest))
    order, others = order[:per_group], order[per_group:]
    marks = ["nearest" if near else "" for near in nearest[order]]
    tiles = _tiles(case, positions[order], losses[:, order], album, marks)
    return Gallery(
        role,
        f"{role.capitalize()} group: {count(len(positions), 'example')}",
        case.trace.naming.shown(labels_text(group.labels, 70)),
        tiles,
        len(positions) - len(tiles),
        not bare.all(),
        tuple(case.trace.naming.id(int(example)) for example in np.sort(group.ids[others])),
    )


def _around(case: Case, row: int | None, positions: Ints) -> Floats:
    """Losses of some examples before and after loss delta ``row``, (2, n) float64; NaN where there is none."""
    if row is None:
        return np.full((2, len(positions)), np.nan)
    return np.asarray(case.trace.around(row, positions), dtype=np.float64)


def _tiles(
    case: Case, positions: Ints, losses: Floats, album: Album, marks: Sequence[str]
) -> tuple[Tile, ...]:
    trace = case.trace
    return tuple(
        Tile(
            trace.naming.id(example),
            trace.naming.shown(label_name(label, case.run.classes)),
            trace.naming.context(name),
            album.uri(example),
            signed(after - before),
            f"{number(before)} \u2192 {number(after)}",
            trace.unit.after,
            mark,
        )
        for example, label, name, before, after, mark in zip(
            trace.example_ids[positions].tolist(),
            trace.labels[positions].tolist(),
            trace.names_at(positions),
            *losses.tolist(),
            marks,
            strict=True,
        )
    )


def top_ids(mining: Mining) -> list[int]:
    """Ids of the top examples a report shows, without repetition: a store that keeps their pictures is enough."""
    tops = strongest_top(mining, TOP_STEPS)
    ids = [int(i) for top in tops for side in (top.up_ids, top.down_ids) for i in side[:TOP_EXAMPLES]]
    for _, part in largest_parts(mining):
        ids += [*part.up_ids[:TOP_EXAMPLES], *part.down_ids[:TOP_EXAMPLES]]
    return list(dict.fromkeys(ids))


def largest_parts(mining: Mining) -> list[tuple[EigenChange, EigenPart]]:
    """Of each eigenvector, first to last, the step in which it moves the losses most, and what it does there."""
    by_direction = zip(*(((change, part) for part in change.parts) for change in mining.eigen), strict=True)
    return [max(found, key=lambda both: both[0].size * both[1].size) for found in by_direction]


def eigen_galleries(case: Case, album: Album) -> list[dict[str, Any]]:
    """The examples that each eigenvector moves most, either way, in the step in which it moves most."""
    shown = []
    for at, (change, part) in enumerate(largest_parts(case.mining) if case.mining else (), start=1):
        row, sides = delta_row(case.trace, change.step), []
        for role, word, ids, parts in (
            ("up", "up", part.up_ids, part.up_parts),
            ("down", "down", part.down_ids, part.down_parts),
        ):
            marks = dict(zip(ids, map(signed, parts), strict=True))
            some = np.array(ids, dtype=np.int64)
            sides.append(_top_side(case, role, f"Moved {word} most by v{at}", some, row, album, marks))
        between = case.run.axis.between(change.step, change.next_step)
        shown.append({"between": f"{between}, along v{at}", "galleries": sides})
    return shown


def spike_galleries(case: Case, spike: Spike, album: Album) -> list[Gallery]:
    """The examples that rose and fell most in a spike."""
    if spike.cause is None:
        return []
    rows = np.flatnonzero(np.isin(case.trace.steps, (spike.step, spike.next_step)))
    sides = (("up", "rose most", spike.cause.up_ids), ("down", "fell most", spike.cause.down_ids))
    shown = []
    for role, title, ids in sides:
        if not len(ids):
            continue
        positions = case.trace.positions(np.asarray(ids, dtype=np.int64))
        losses = np.asarray(case.trace.losses[rows[0] : rows[-1] + 1, positions], dtype=np.float64)[[0, -1]]
        tiles = _tiles(case, positions, losses, album, [""] * len(positions))
        labels = Counter(
            label_name(label, case.run.classes) for label in case.trace.labels[positions].tolist()
        )
        pictured = any(tile.picture for tile in tiles)
        words = case.trace.naming.shown(labels_text(dict(labels.most_common()), 70))
        shown.append(Gallery(role, title, words, tiles, 0, pictured))
    return shown


def top_galleries(case: Case, album: Album) -> list[dict[str, Any]]:
    """The examples whose loss changed most, at the steps with the largest changes."""
    if case.mining is None:
        return []
    member_of = member_marks(case.mining)
    shown = []
    for top in strongest_top(case.mining, TOP_STEPS):
        row = delta_row(case.trace, top.step)
        sides = [
            _top_side(case, role, f"Loss went {role} most", ids, row, album, member_of)
            for role, ids in (("up", top.up_ids), ("down", top.down_ids))
            if len(ids)
        ]
        shown.append({"between": case.run.axis.between(top.step, top.next_step), "galleries": sides})
    return shown


def _top_side(
    case: Case, role: str, title: str, ids: Ints, row: int | None, album: Album, member_of: Mapping[int, str]
) -> Gallery:
    positions = case.trace.positions(ids)
    shown = positions[:TOP_EXAMPLES]
    marks = [member_of.get(int(example), "") for example in ids[:TOP_EXAMPLES]]
    tiles = _tiles(case, shown, _around(case, row, shown), album, marks)
    labels = Counter(label_name(label, case.run.classes) for label in case.trace.labels[positions].tolist())
    by_size = dict(sorted(labels.items(), key=lambda item: (-item[1], item[0])))
    pictured = any(tile.picture for tile in tiles)
    words = case.trace.naming.shown(labels_text(by_size, 70))
    return Gallery(role, title, words, tiles, len(ids) - len(tiles), pictured)

"""The examples that the page's explorer holds, each with its role and, as far as there is room, its loss curve."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining_records import SIDES
from opsigcli.printable import count
from opsigcli.reporting.first_screen import told
from opsigcli.reporting.format import shorten
from opsigcli.reporting.galleries import top_ids

if TYPE_CHECKING:
    from opsigcli.mining_records import Side
    from opsigcli.records import Case, Floats, Ints
    from opsigcli.reporting.charts.sheet import Sheet
    from opsigcli.reporting.pictures import Album, Beside

FEWEST_ROWS = (
    60  # checkpoints of a curve, where the run has as many; the last examples go without one before that
)
HARDEST, SAMPLED = 40, 60  # examples with the largest loss at the end, and random ones
LONGEST = 120  # characters of a path or a text
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LEVELS = 4094  # two letters hold 4096: this is the largest, and the one after it is no number


@dataclass(frozen=True)
class Room:
    """How much of the examples is held."""

    series: int  # bytes of all curves together
    pictures: int  # bytes of pictures that stand nowhere else in the page
    listed: int  # examples


IN_PAGE = Room(300_000, 120_000, 4_000)
IN_FOLDER = Room(60_000_000, 1 << 40, 1_000_000)
PART_BYTES = 1_000_000  # of a file of curves


@dataclass(frozen=True)
class Role:
    """Why an example is among those that are held."""

    words: str
    ids: tuple[int, ...]
    pair: int = 0
    side: Side = "rest"


def explorer(case: Case, sheet: Sheet, album: Album, beside: Beside | None = None) -> dict[str, Any]:
    """All that the explorer needs: data for the script, and words for everybody.

    Args:
        case: what the store holds.
        sheet: what all charts share.
        album: its pictures.
        beside: files beside the page, which hold the curves; None = all of it is in the page.

    Returns:
        ``data`` (for JSON), ``words`` (how much of the run is in the file), ``classes`` and ``roles`` to choose from,
        and whether all of it is ``whole``: each of them listed, with a curve.
    """
    space = IN_PAGE if beside is None else IN_FOLDER
    trace = case.trace
    roles = _roles(case)
    reasons: dict[int, list[int]] = {}
    for place, role in enumerate(roles):
        for example in role.ids:
            reasons.setdefault(example, []).append(place)
    ids = list(reasons)[: space.listed]
    rows = kept_rows(len(trace.steps), len(ids), space.series)
    curved = min(len(ids), max(space.series // (2 * len(rows)), 1))
    positions = trace.positions(np.array(ids, dtype=np.int64))
    series, deltas = _curves(case, positions, rows)
    curvature = _curvature(case, ids)
    means = {
        (pair, side): curve
        for pair, curves in enumerate(sheet.groups, start=1)
        for side, curve in zip(SIDES, curves, strict=True)
    }
    unpictured = set(ids) - album.encoded
    pictures: dict[int, str] = {}
    room, curves = space.pictures, Curves(beside)
    for example in ids:
        uri = album.uri(example) if example in unpictured else None
        if uri is not None and len(uri) <= room:
            pictures[example], room = uri, room - len(uri)
    entries = []
    names = trace.names_at(positions)
    for i, example in enumerate(ids):
        entry: list[Any] = [
            trace.naming.id(example),
            int(trace.labels[positions[i]]) if trace.naming.label else None,
            shorten(trace.naming.context(names[i]), LONGEST),
            reasons[example],
            _rounded(_last(series[:, i])),
            _rounded(deltas[i]),
            _rounded(curvature.get(example)),
            curves.held(trace.naming.id(example), packed(series[:, i])) if i < curved else None,
        ]
        entries.append([*entry, pictures[example]] if example in pictures else entry)
    curves.close()
    left_out = len(reasons) - len(ids)
    labels = sorted({int(label) for label in trace.labels[positions]}) if trace.naming.label else []
    return {
        "data": {
            "letters": LETTERS,
            "axis": case.run.axis.one,
            "unit": case.run.loss_unit.after,
            "steps": trace.steps[rows].tolist(),
            "mean": packed(sheet.mean[rows]),
            "spikes": [spike.next_step for spike in case.spikes],
            "classes": {str(k): case.run.classes[k] for k in labels if 0 <= k < len(case.run.classes)},
            "kind": trace.naming.kind,
            "sharpest": None if case.curvature is None else f"{case.curvature.step:,}",
            "roles": [
                {"words": role.words}
                | (
                    {"pair": role.pair, "side": role.side, "curve": packed(means[role.pair, role.side][rows])}
                    if role.pair
                    else {}
                )
                for role in roles
            ],
            "examples": entries,
            "parts": curves.parts,
        },
        "whole": not left_out and curved == len(ids),
        "words": _words(case, len(ids), curved, len(rows), left_out, space),
        "kind": trace.naming.kind,
        "classes": [case.run.classes[k] if 0 <= k < len(case.run.classes) else str(k) for k in labels],
        "pairs": list(dict.fromkeys(role.pair for role in roles if role.pair)),
        "roles": [role.words for role in roles if not role.pair],
        "curvature": bool(curvature),
    }


class Curves:
    """Packed curves, in the page or in files: scripts, which a page can load without a server."""

    def __init__(self, beside: Beside | None) -> None:
        self._beside, self._open, self._size = beside, dict[str, Any](), 0
        self.parts: list[str] = []  # addresses of files

    def held(self, example: str, curve: tuple[float, float, str]) -> Any:
        """The curve, or the number of the file that it is in."""
        if self._beside is None:
            return curve
        self._open[example], self._size = curve, self._size + len(curve[2])
        number = len(self.parts)
        if self._size >= PART_BYTES:
            self.close()
        return number

    def close(self) -> None:
        """End the file that is being filled."""
        if self._beside is not None and self._open:
            text = json.dumps(self._open, separators=(",", ":"))
            self.parts.append(self._beside.put("curves", f"opsigPart({len(self.parts)},{text})", "js"))
            self._open, self._size = {}, 0


def kept_rows(checkpoints: int, examples: int, series: int = IN_PAGE.series) -> Ints:
    """Checkpoints at which curves are kept: all, or neighbours two by two, so that swings stay swings."""
    most = max(series // (2 * max(examples, 1)), FEWEST_ROWS)
    if checkpoints <= most:
        return np.arange(checkpoints)
    begins = np.linspace(0, checkpoints - 2, most // 2).astype(np.int64)
    return np.unique(np.concatenate([begins, begins + 1]))


def packed(values: Floats) -> tuple[float, float, str]:
    """A curve as its least and greatest value and two letters for each value between, to 1/8188 of that range.

    Args:
        values: (R,) nats.

    Returns:
        Low, high, and 2R letters; ``__`` where there is no number.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 0.0, "__" * len(values)
    low, high = (float(f"{bound:.7g}") for bound in (values[finite].min(), values[finite].max()))
    levels = np.full(len(values), LEVELS + 1)
    levels[finite] = np.clip(np.round((values[finite] - low) / ((high - low) or 1.0) * LEVELS), 0, LEVELS)
    return low, high, "".join(LETTERS[level // 64] + LETTERS[level % 64] for level in levels.tolist())


def _roles(case: Case) -> list[Role]:
    """Who is held and why, the most important first."""
    mining, trace = case.mining, case.trace
    roles = [
        Role(f"pair {number}, {side} group", tuple(map(int, group.ids)), number, side)
        for number, pair in enumerate(mining.pairs if mining else (), start=1)
        for side, group in pair.groups.items()
    ]
    causes = [spike.cause for spike in told(case) if spike.cause is not None]
    for words, name in (("rose most in a spike", "up_ids"), ("fell most in a spike", "down_ids")):
        roles.append(
            Role(words, tuple(dict.fromkeys(int(i) for cause in causes for i in getattr(cause, name))))
        )
    if mining:
        roles.append(Role("top example", tuple(top_ids(mining))))
    counted = np.ones(len(trace.example_ids), bool) if trace.measured is None else trace.measured
    last = _last_losses(case)
    order = np.argsort(-np.where(counted & np.isfinite(last), last, -np.inf), kind="stable")[:HARDEST]
    hardest = trace.example_ids[[i for i in order.tolist() if counted[i] and math.isfinite(last[i])]]
    roles.append(Role("largest loss at the end", tuple(map(int, hardest))))
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(counted))[:SAMPLED]
    roles.append(Role("random sample", tuple(map(int, trace.example_ids[np.sort(drawn)]))))
    return [role for role in roles if role.ids]


def _last_losses(case: Case) -> Floats:
    """The losses at the last checkpoint that has any, (N,)."""
    for row in range(len(case.trace.steps) - 1, -1, -1):
        values = np.asarray(case.trace.losses[row], dtype=np.float64)
        if np.isfinite(values).any():
            return values
    return np.full(len(case.trace.example_ids), np.nan)


def _curves(case: Case, positions: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Losses of examples at some checkpoints, (R, n), and their largest loss delta anywhere, (n,), with its sign."""
    wanted = {row: place for place, row in enumerate(rows.tolist())}
    series = np.full((len(rows), len(positions)), np.nan, np.float32)
    deltas = np.full(len(positions), np.nan)
    before: Floats | None = None
    for t, losses in enumerate(case.trace.losses):
        row = np.asarray(losses, dtype=np.float64)[positions]
        if t in wanted:
            series[wanted[t]] = row
        if before is not None:
            with np.errstate(invalid="ignore"):  # an infinite loss has no delta
                change = row - before
            larger = np.isfinite(change) & ~(np.abs(change) <= np.abs(deltas))
            deltas[larger] = change[larger]
        before = row
    return series, deltas


def _curvature(case: Case, ids: list[int]) -> dict[int, float]:
    """Curvature of examples along the top eigenvector at the sharpest checkpoint at which it was measured."""
    if case.curvature is None:
        return {}
    known = dict(zip(case.curvature.ids.tolist(), case.curvature.values.tolist(), strict=True))
    return {example: known[example] for example in ids if example in known}


def _last(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else None


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _words(case: Case, listed: int, curved: int, rows: int, left_out: int, space: Room) -> str:
    """What is in the file, and what is not."""
    total, checkpoints = len(case.trace.example_ids), len(case.trace.steps)
    words = f"All {count(total, 'example')}."
    if listed < total:
        every = "" if left_out else "all "
        words = (
            f"{listed:,} of {count(total, 'example')}: {every}members of pairs, those that moved most in spikes and at "
            f"the top changes, the {HARDEST} with the largest loss at the end, and {SAMPLED} random ones."
        )
    if left_out:
        words += f" {left_out:,} more are not listed."
    kept = (
        "every checkpoint" if rows == checkpoints else f"{rows:,} of {checkpoints:,} checkpoints, two by two"
    )
    which = "Curves" if curved == listed else f"Curves of the first {curved:,}"
    size = f"together they take at most {space.series // 1000:,} kB"
    return f"{words} {which} hold {kept}, to 1/8188 of their range; {size}."

"""The critical sharpness that a store and killed commands have already."""

from __future__ import annotations

import itertools

from opsigcli.printable import count
from opsigcli.runs.given_hyper import settings_of
from opsigcli.sharpness_records import CriticalSharpness
from opsigcli.stability.critical_sharpness import NEXT
from opsigcli.store.decode import decode_unit
from opsigcli.store.names import QUICK
from opsigcli.store.reader import Store
from opsigcli.store.units import Units


def recall(
    store: Store, units: Units, name: str, *, fresh: bool
) -> tuple[dict[int, CriticalSharpness], list[str]]:
    """The values of one kind by step, and what ``--fresh`` takes away, in words.

    Args:
        store: open.
        units: of commands that were killed.
        name: of the result that the values belong to.
        fresh: begin anew.
    """
    weights = dict(zip(store.file["steps"][()].tolist(), store.sha256, strict=True))
    place = store.places()[QUICK].get(name)
    known = place.critical if place else ()
    points = {p.step: p for p in known if p.sha256 in ("", weights.get(p.step, p.sha256))}
    if fresh:
        removed = f"--fresh removed what was measured at {count(len(points), 'checkpoint')} before ({name})"
        return {}, [removed] if points else []
    for row, step in enumerate(weights):
        raw = units.read(unit_key(store, row))
        if raw is not None and (point := decode_unit(CriticalSharpness, raw.tobytes())) is not None:
            points[step] = point
    return points, []


def outdated(store: Store, points: dict[int, CriticalSharpness]) -> set[int]:
    """Steps whose update was made up, and which the next checkpoint shows by now, or of which more is known by now."""
    axis, lrs, steps = store.run.axis, store.lrs.tolist(), store.file["steps"][()].tolist()
    shown = {step for step, after in itertools.pairwise(steps) if axis.one_update(step, after)}
    now = {step: settings_of(store.run, lr, lrs) for step, lr in zip(steps, lrs, strict=True)}
    return {
        step
        for step, point in points.items()
        if (point.direction != NEXT and step in shown)
        or (point.settings and point.settings != now.get(step, point.settings))
    }


def unit_key(store: Store, row: int) -> str:
    """The name of a row's unit: the update to the next checkpoint is part of it."""
    following = store.sha256[row + 1][:8] if row + 1 < len(store.sha256) else ""
    return f"critical-{store.sha256[row][:16]}{following}"

"""What one ``opsig sharpness`` measures, and what the store and stopped commands have of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opsigcli.curvature.phases import phases
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import plain
from opsigcli.printable import count
from opsigcli.records import Provenance
from opsigcli.runs.given_hyper import settings_of
from opsigcli.sharpness_records import Phase, SharpnessPoint, marked
from opsigcli.stability.configuration import numerics, without_rule
from opsigcli.stability.measure import Measured
from opsigcli.stability.merging import answers, completed, merged, wanted
from opsigcli.stability.step_limits import LAST
from opsigcli.store.decode import decode_unit
from opsigcli.store.names import SHARPNESS, name_of
from opsigcli.store.reader import Store
from opsigcli.store.units import Units
from opsigcli.store.writer import SharpnessContent, write_sharpness

# What a point says by the optimizer's settings.
JUDGED = (
    *("threshold", "ratio", "preconditioned", "reason", "lr", "estimated"),
    *("optimizer", "units", "notes", "settings", "batch_ratio", "step_check"),
)

STALE = (
    "judged by what was known of the run before: opsig sharpness without --steps and --every judges it anew"
)


class Job:
    """The points of one kind of measurement: those of earlier commands, and new ones.

    Points are merged by step; those measured otherwise (other examples, precision, rule …) are other results of the
    store, and stay as they are.

    Args:
        options: of the command.
        store: open.
        rows: of the trace, to be measured.
        parallel: the processes that share the examples.
        mining: whose groups are looked at, or None.
    """

    def __init__(
        self,
        options: SharpnessOptions,
        store: Store,
        rows: list[int],
        parallel: DataParallel,
        mining: Mining | None,
    ) -> None:
        self.options, self.store, self.rows, self.parallel = options, store, rows, parallel
        self.batch_norm = options.batch_norm or store.run.batch_norm
        self.units = Units(options.store, numerics(options, self.batch_norm, mining))
        self.digest = "" if mining is None else mining.digest
        self.steps: list[int] = store.file["steps"][()].tolist()
        lrs = store.lrs.tolist()
        # Of each row, for checkpoints that have none of their own.
        self.settings = [settings_of(store.run, lr, lrs) for lr in lrs]
        self.points: dict[int, SharpnessPoint] = {}  # by step
        self.other: dict[int, SharpnessPoint] = {}  # the same with another rule
        self.curvatures: dict[int, NDArray[np.float32]] = {}  # step -> per example
        self.other_curvatures: dict[int, NDArray[np.float32]] = {}
        self.subset: NDArray[np.int64] | None = None  # ids of the examples of earlier points; None for all
        self.removed: list[str] = []  # what --fresh takes away, in words
        self.failed: dict[str, str] = {}  # file -> reason
        self.new: set[int] = set()  # rows measured by this command
        self.unsaved = False  # whether there is what the store does not have
        self.stopped: KeyboardInterrupt | None = None
        self._recall()

    @property
    def made(self) -> Provenance:
        """What the points are known by."""
        return Provenance(SHARPNESS, vars(self.options) | {"batch_norm": self.batch_norm or None}, "")

    def done(self, row: int) -> bool:
        """Whether all that is asked of a row is known."""
        point = self.points.get(self.steps[row])
        return (
            point is not None and answers(point, self.options, self._asked(row)) and not self._outdated(row)
        )

    def known_otherwise(self, row: int) -> SharpnessPoint | None:
        """The point of a row with another rule, where the rule is all that differs."""
        point = self.other.get(self.steps[row])
        if self._outdated(row):
            point = self.points[self.steps[row]]
        return point if point is not None and answers(point, self.options, self._asked(row)) else None

    def keep(self, row: int, measured: Measured) -> SharpnessPoint:
        """Keep a new point, beside what is known of its checkpoint."""
        point, curvatures = measured.point, measured.curvatures
        if self._outdated(row):
            judged = {name: getattr(point, name) for name in JUDGED}
            self.points[point.step] = replace(self.points[point.step], **judged)
        point = replace(
            point,
            sha256=self.store.sha256[row],
            tolerance=self.options.tolerance,
            max_matvecs=self.options.max_matvecs,
            asked=() if point.partial else tuple(sorted({*point.asked, *self._asked(row)})),
            groups=tuple(replace(group, mining=group.mining or self.digest) for group in point.groups),
        )
        self._add(point)
        self.new.add(row)
        self.unsaved = True
        if curvatures is not None:
            self.curvatures[point.step] = curvatures
        if not point.partial and not self.parallel.rank:
            if curvatures is not None:
                self.units.write(self._key(row, "curvature"), curvatures)
            self.units.write(self._key(row), np.frombuffer(json.dumps(plain(point)).encode(), np.uint8))
        return point

    def stale(self) -> list[int]:
        """Rows that are not asked for and whose points were judged by what was known of the run before."""
        return [
            row
            for row, step in enumerate(self.steps)
            if row not in self.rows and self._judged_otherwise(row) and self.points[step].reason != STALE
        ]

    def renew(self, row: int, judge: Callable[[SharpnessPoint], SharpnessPoint | None]) -> None:
        """Judge a point anew that is not asked for; without threshold, and saying so, where it must be solved again.

        Args:
            row: of the trace.
            judge: the point with the threshold of what is known now; None where it must be solved again.
        """
        old = self.points[self.steps[row]]
        nothing = replace(old, threshold=None, ratio=None, preconditioned=None, reason=STALE)
        nothing = replace(nothing, estimated="", units="", batch_ratio=None, step_check=None)
        try:
            self.points[old.step] = judge(old) or nothing
        except (CheckpointError, ModelError):  # what is gone is not measured again
            self.points[old.step] = nothing
        self.unsaved = True

    def shown(self) -> list[SharpnessPoint]:
        """The points of the rows to be measured, as far as there are some, marked by what is known of all of them."""
        mining = self.store.mining
        known = ("", "" if mining is None else mining.digest)
        points = {p.step: p for p in marked([self.points[step] for step in sorted(self.points)])}
        found = (points.get(self.steps[row]) for row in self.rows)
        return [
            replace(p, groups=tuple(group for group in p.groups if group.mining in known))
            for p in found
            if p is not None
        ]

    def phases(self) -> tuple[Phase, ...]:
        """What the sharpness did along the run, by all points; ratios that the weights contradict say nothing of it."""
        trace = self.store.trace
        points = marked([self.points[step] for step in sorted(self.points)])
        points = tuple(replace(p, ratio=None) if p.ratio_contradicted else p for p in points)
        return phases(points, trace.steps, trace.mean_losses)

    def write(self, found: tuple[Phase, ...], subset: NDArray[np.int64] | None, made: Provenance) -> None:
        """Put all points into the store, in place of those of the same kind that are there.

        Args:
            found: phases.
            subset: ids of the examples that were measured; None for all.
            made: how this command made its points.
        """
        made.options["batch_norm"] = self.batch_norm or None
        made.options["processes"] = self.parallel.processes
        content = SharpnessContent(list(self.points.values()), found, self.curvatures, subset, made)
        write_sharpness(self.options.store, content)
        self.units.clear()

    def _recall(self) -> None:
        """Take the points of this very kind from the store, or from a stopped command; and those of another rule."""
        usual = self.store.run.batch_norm
        named = self.store.places()[SHARPNESS]
        mine, alike = name_of(SHARPNESS, self.made, usual), name_of(SHARPNESS, without_rule(self.made), usual)
        for name, place in named.items():
            made = place.provenance[SHARPNESS]
            points = [completed(p, made.options) for p in place.sharpness if self._is_of_run(p)]
            if name == mine and self.options.fresh:
                self.removed = [
                    f"--fresh removed what was measured at {count(len(points), 'checkpoint')} before ({name})"
                ]
            elif name == mine:
                self.points |= {p.step: p for p in points}
                self.curvatures, self.subset = place.example_curvature(), place.subset
            elif name_of(SHARPNESS, without_rule(made), usual) == alike and not self.options.fresh:
                self.other |= {p.step: p for p in points}
                self.other_curvatures |= place.example_curvature()
        for row, step in enumerate(self.steps) if not self.options.fresh else ():
            raw = self.units.read(self._key(row))
            point = None if raw is None else decode_unit(SharpnessPoint, raw.tobytes())
            if point is not None:
                self._add(point)
                self.unsaved = True
                curvature = self.units.read(self._key(row, "curvature"))
                if curvature is not None:
                    self.curvatures[step] = curvature

    def _is_of_run(self, point: SharpnessPoint) -> bool:
        """Whether the trace has the weights that the point is of, or none at its step."""
        if not point.sha256 or point.step not in self.steps:
            return True
        return point.sha256 == self.store.sha256[self.steps.index(point.step)]

    def _judged_otherwise(self, row: int) -> bool:
        """Whether a point was judged by what was known of the run then, and other things are known of it now."""
        point = self.points.get(self.steps[row])
        return point is not None and point.settings not in ("", self.settings[row])

    def _outdated(self, row: int) -> bool:
        """Whether so, or a point was judged as the last checkpoint's, which another one follows by now."""
        point = self.points.get(self.steps[row])
        check = None if point is None else point.step_check
        followed = check is not None and LAST in check.reason and row + 1 < len(self.steps)
        return followed or self._judged_otherwise(row)

    def _add(self, point: SharpnessPoint) -> None:
        old = self.points.get(point.step)
        self.points[point.step] = point if old is None else merged(old, point)

    def _asked(self, row: int) -> frozenset[str]:
        return wanted(self.options, self.digest, last=row + 1 >= len(self.steps))

    def _key(self, row: int, what: str = "sharpness") -> str:
        """The name of a row's unit."""
        return f"{what}-{self.store.sha256[row][:16]}"

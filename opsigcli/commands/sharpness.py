"""``opsig sharpness``: top Hessian eigenvalues along the trace, against the stability threshold."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opsigcli.command_line import command
from opsigcli.commands.quick_sharpness import chosen_rows, quick_sharpness
from opsigcli.curvature.phases import phases
from opsigcli.derivatives.data_parallel import DataParallel, process_group
from opsigcli.errors import CheckpointError, Interrupted, ModelError, StoreError
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.parameters import require
from opsigcli.progress import Progress
from opsigcli.records import Case, Mining
from opsigcli.reporting.training import log_warning
from opsigcli.runs.provenance import provenance
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.stability.budget import Budget, coarse_to_fine, step_range
from opsigcli.stability.configuration import SPECTRUM, held_against_rule, numerics, without_rule
from opsigcli.stability.curvature_attribution import spread_rows
from opsigcli.stability.measure import Meter
from opsigcli.stability.plan import plan_sharpness
from opsigcli.stability.summary import outcome, warnings_of
from opsigcli.store.decode import decode_unit
from opsigcli.store.lock import locked
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import SharpnessContent, write_sharpness


def sharpness(options: SharpnessOptions, progress: Progress) -> Outcome:
    """Measure sharpness at every ``options.every``-th checkpoint of the trace.

    Each point is kept as it is found, so that an interrupted command resumes where it was. Under ``torchrun`` the
    processes share the examples; the first one writes and reports.

    Raises:
        StoreError: there is no readable store.
        UsageError: steps or budget are not understood, or no checkpoint is in the range.
        CurvatureError: the model has no second derivatives.
        OpsigError: model or data cannot be opened, or no checkpoint can.
        Interrupted: a signal arrived; the points found so far are in the store.
    """
    require(options, "precision", *(["batch_norm"] if options.batch_norm else []))
    if options.quick:
        return quick_sharpness(options, progress)
    budget, steps = Budget(options.budget), step_range(options.steps)
    with process_group() as parallel, locked(options.store) if parallel.rank == 0 else nullcontext():
        return _sharpness(options, progress, budget, steps, parallel)


@dataclass
class _Job:
    """What one command measures, and what it has."""

    store: Store
    units: Units
    rows: list[int]  # of the trace
    parallel: DataParallel
    points: dict[int, SharpnessPoint] = field(default_factory=dict)  # by row
    other: dict[int, SharpnessPoint] = field(default_factory=dict)  # the same with another rule
    curvatures: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # step -> per example
    failed: dict[str, str] = field(default_factory=dict)
    new: int = 0
    stopped: KeyboardInterrupt | None = None

    def recall(self, same: str) -> None:
        """Take the points measured in this very way, in the store or left by a stopped command; or by another rule."""
        made = self.store.provenance.get("sharpness")
        steps = {int(step): row for row, step in enumerate(self.store.file["steps"][()])}
        if made is not None and made.options.get("configuration") == self.units.hash:
            known = {point.step: point for point in self.store.sharpness if not point.partial}
            self.points = {steps[step]: point for step, point in known.items() if step in steps}
            self.curvatures = self.store.example_curvature()
        elif made is not None and made.options.get(SPECTRUM) == same:
            self.other = {steps[point.step]: point for point in self.store.sharpness if point.step in steps}
        for step, row in steps.items():
            raw = self.units.read(self.key(row))
            point = None if raw is None else decode_unit(SharpnessPoint, raw.tobytes())
            if point is not None:
                self.points[row] = point
                found = self.units.read(self.key(row, "curvature"))
                if found is not None:
                    self.curvatures[step] = found

    def keep(self, row: int, point: SharpnessPoint, curvatures: NDArray[np.float32] | None) -> None:
        """Keep a new point; a partial one only until the command ends."""
        self.points[row] = point
        self.new += 1
        if curvatures is not None:
            self.curvatures[point.step] = curvatures
        if point.partial or self.parallel.rank:
            return
        if curvatures is not None:
            self.units.write(self.key(row, "curvature"), curvatures)
        self.units.write(self.key(row), np.frombuffer(json.dumps(plain(point)).encode(), np.uint8))

    def key(self, row: int, what: str = "sharpness") -> str:
        """The name of a row's unit."""
        return f"{what}-{self.store.sha256[row][:16]}"


def _sharpness(
    options: SharpnessOptions,
    progress: Progress,
    budget: Budget,
    wanted: tuple[float, float],
    parallel: DataParallel,
) -> Outcome:
    with open_store(options.store) as store:
        mining = _mining(store) if options.groups else None
        chosen = numerics(options, options.batch_norm or store.run.batch_norm, mining)
        same = without_rule(chosen)
        job = _Job(store, Units(options.store, chosen), chosen_rows(store, options.every, wanted), parallel)
        if not options.fresh:
            job.recall(same)
        if options.dry_run:
            return plan_sharpness(options, [row for row in job.rows if row not in job.points], store)
        meter = None
        if not all(row in job.points for row in job.rows):
            meter = Meter(StoredRun(store, options, options.precision), options, budget, parallel, mining)
            _measure(job, meter, progress)
        trace, run, traced = store.trace, store.run, store.provenance["trace"].options
        said = log_warning(store.training_log)
        shown = [job.points[row] for row in job.rows if row in job.points]
        # What was measured stands in the store; the phases are those of all of it.
        everything = [job.points[row] for row in sorted(job.points)]
        found = phases(everything, trace.steps, trace.mean_losses)
        subset = trace.example_ids[meter.positions] if meter and meter.sampled else store.subset
    if job.new and parallel.rank == 0:
        made = provenance(
            "sharpness",
            options,
            meter.run.objective if meter else None,
            seed=options.seed,
            precision=options.precision,
        )
        made.options.update({"configuration": job.units.hash, SPECTRUM: same})
        made.options["processes"] = parallel.processes
        used = subset if options.examples is not None else None
        curvatures = {
            point.step: job.curvatures[point.step] for point in everything if point.step in job.curvatures
        }
        write_sharpness(options.store, SharpnessContent(everything, found, curvatures, used, made))
        job.units.clear()
    if job.stopped is not None:
        todo = sum(row not in job.points for row in job.rows)
        raise Interrupted(job.stopped, f"interrupted: {job.new} new points are kept, {todo} are left")
    left = [
        int(trace.steps[row])
        for row in job.rows
        if row not in job.points and trace.files[row] not in job.failed
    ]
    warnings = warnings_of(options, shown, job.failed, left, run.optimizer, len(trace.example_ids))
    notes = meter.run.notes if meter else ()
    warnings = [*traced.get("notes", ()), *notes, *said, *warnings]
    case = Case(run, trace, sharpness=tuple(shown), phases=found)
    return outcome(
        options, case, job.failed, left, warnings if parallel.rank == 0 else [], traced.get("mean", "")
    )


def _mining(store: Store) -> Mining:
    mining = store.mining
    if mining is None:
        raise StoreError(
            f"expected mined groups in {store.path} for --groups, found none",
            f"run first: {command('mine', store=store.path)}",
        )
    return mining


def _measure(job: _Job, meter: Meter, progress: Progress) -> None:
    """Add the missing points. Under a budget the checkpoints are taken coarse to fine.

    Raises:
        CheckpointError: no checkpoint could be measured, as the last one cannot be used.
        ModelError: the same, as the last one's weights do not fit.
    """
    steps, lrs = job.store.file["steps"][()], job.store.lrs
    order = job.rows if not meter.budget.limited else [job.rows[i] for i in coarse_to_fine(len(job.rows))]
    spread = spread_rows(job.rows)
    try:
        with progress.task("sharpness", len(order), "checkpoint") as task:
            for row in order:
                if row in job.points:
                    task.advance(note=_note(job.points[row]))
                    continue
                if meter.over():
                    break
                following = int(steps[row + 1]) if row + 1 < len(steps) else None
                try:
                    old = job.other.get(row)
                    if old is not None and (point := held_against_rule(meter, row, old)):
                        job.keep(row, point, job.store.example_curvature().get(point.step))
                        task.advance(note=f"{_note(point)}, kept")
                        continue
                    measured = meter.measure(
                        row,
                        int(steps[row]),
                        float(lrs[row]),
                        following,
                        row in spread,
                        lambda note: task.advance(0, note),
                    )
                except (CheckpointError, ModelError) as error:
                    job.failed[job.store.files[row]] = error.message
                    if len(job.failed) == len(order):
                        raise
                    task.advance(note=f"{job.store.files[row]} failed")
                    continue
                job.keep(row, measured.point, measured.curvatures)
                task.advance(note=_note(measured.point))
    except KeyboardInterrupt as signal:
        job.stopped = signal


def _note(point: SharpnessPoint) -> str:
    ratio = "" if point.ratio is None else f", ratio {point.ratio:.3f}"
    return f"checkpoint {point.step}: {point.eigenvalues[0]:.4g}{ratio}"

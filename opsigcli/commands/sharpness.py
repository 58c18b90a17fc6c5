"""``opsig sharpness``: top Hessian eigenvalues along the trace, against the stability threshold."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from opsigcli.command_line import command
from opsigcli.commands.quick_sharpness import chosen_rows, quick_sharpness
from opsigcli.derivatives.data_parallel import DataParallel, process_group
from opsigcli.errors import CheckpointError, Interrupted, ModelError, StoreError
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import require
from opsigcli.progress import Progress
from opsigcli.records import Case
from opsigcli.reporting.training import trace_warnings
from opsigcli.runs.provenance import provenance
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.stability.budget import Budget, coarse_to_fine, step_range
from opsigcli.stability.configuration import held_against_rule
from opsigcli.stability.curvature_attribution import spread_rows
from opsigcli.stability.job import Job
from opsigcli.stability.measure import Measured, Meter
from opsigcli.stability.plan import plan_sharpness
from opsigcli.stability.summary import outcome, warnings_of
from opsigcli.store.lock import locked
from opsigcli.store.reader import Store, open_store


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


def _sharpness(
    options: SharpnessOptions,
    progress: Progress,
    budget: Budget,
    wanted: tuple[float, float],
    parallel: DataParallel,
) -> Outcome:
    with open_store(options.store) as store:
        mining = _mining(store) if options.groups else None
        job = Job(options, store, chosen_rows(store, options.every, wanted), parallel, mining)
        if options.dry_run:
            return plan_sharpness(options, [row for row in job.rows if not job.done(row)], store)
        meter = None
        if job.unsaved or not all(map(job.done, job.rows)) or job.stale():
            meter = Meter(StoredRun(store, options, options.precision), options, budget, parallel, mining)
            _measure(job, meter, progress)
        trace, run, traced = store.trace, store.run, store.provenance["trace"].options
        said = trace_warnings(store.training_log, store.look)
        shown, found = job.shown(), job.phases()  # phases are those of all that was ever measured
        subset = trace.example_ids[meter.positions] if meter and meter.sampled else job.subset
    if meter is not None and job.unsaved and parallel.rank == 0:
        objective = meter.run.objective
        made = provenance("sharpness", options, objective, seed=options.seed, precision=options.precision)
        job.write(found, subset, made)
    if job.stopped is not None:
        todo = sum(not job.done(row) for row in job.rows)
        raise Interrupted(job.stopped, f"interrupted: {len(job.new)} new points are kept, {todo} are left")
    left = [
        int(trace.steps[row])
        for row in job.rows
        if not job.done(row) and row not in job.new and trace.files[row] not in job.failed
    ]
    warnings = warnings_of(options, shown, job.failed, left, run.optimizer, len(trace.example_ids))
    notes = meter.run.notes if meter else ()
    warnings = [*job.removed, *traced.get("notes", ()), *notes, *said, *warnings]
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


def _measure(job: Job, meter: Meter, progress: Progress) -> None:
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
                if job.done(row):
                    task.advance(note=_note(job.points[int(steps[row])]))
                    continue
                if meter.over():
                    break
                following = int(steps[row + 1]) if row + 1 < len(steps) else None
                try:
                    old = job.known_otherwise(row)
                    if old is not None and (point := held_against_rule(meter, row, old)):
                        job.keep(row, Measured(point, job.other_curvatures.get(point.step)))
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
                job.keep(row, measured)
                task.advance(note=_note(measured.point))
        for row in job.stale():
            job.renew(row, partial(held_against_rule, meter, row))
    except KeyboardInterrupt as signal:
        job.stopped = signal


def _note(point: SharpnessPoint) -> str:
    ratio = "" if point.ratio is None else f", ratio {point.ratio:.3f}"
    return f"checkpoint {point.step}: {point.eigenvalues[0]:.4g}{ratio}"

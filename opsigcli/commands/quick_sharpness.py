"""``opsig sharpness --quick``: critical sharpness along the run's own update, where Lanczos is too dear."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from opsigcli.derivatives.data_parallel import DataParallel, process_group
from opsigcli.errors import CheckpointError, ExitCode, Interrupted, ModelError, UsageError
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.records import Case, Provenance
from opsigcli.reporting.sharpness_lines import of_subset
from opsigcli.reporting.training import trace_warnings
from opsigcli.runs.provenance import provenance
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import CriticalSharpness
from opsigcli.stability.budget import Budget, coarse_to_fine, step_range
from opsigcli.stability.critical_sharpness import CriticalMeter
from opsigcli.stability.measure import Meter
from opsigcli.stability.plan import plan_sharpness
from opsigcli.stability.quick_options import refuse_useless
from opsigcli.stability.quick_points import outdated, recall, unit_key
from opsigcli.store.lock import locked
from opsigcli.store.names import CHOICES, QUICK, name_of
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import write_critical


def quick_sharpness(options: SharpnessOptions, progress: Progress) -> Outcome:
    """Measure critical sharpness at every ``options.every``-th checkpoint; what is known of eigenvalues stays.

    Raises:
        StoreError: there is no readable store.
        UsageError: an option needs eigenvectors, steps or budget are not understood, or no checkpoint is in the range.
        CheckpointError: no checkpoint could be measured.
        ModelError: the same, as weights do not fit.
        Interrupted: a signal arrived; the values found so far are kept.
    """
    refuse_useless(options)
    budget, wanted = Budget(options.budget), step_range(options.steps)
    with process_group() as parallel, locked(options.store) if parallel.rank == 0 else nullcontext():
        return _quick(options, progress, budget, wanted, parallel)


def _quick(
    options: SharpnessOptions,
    progress: Progress,
    budget: Budget,
    wanted: tuple[float, float],
    parallel: DataParallel,
) -> Outcome:
    stopped: KeyboardInterrupt | None = None
    meter: Meter | None = None
    failed: dict[str, str] = {}
    with open_store(options.store) as store:
        batch_norm = options.batch_norm or store.run.batch_norm
        numerics = {"quick": True} | {name: getattr(options, name) for name in CHOICES[QUICK]}
        units = Units(options.store, numerics | {"batch_norm": batch_norm})
        rows = chosen_rows(store, options.every, wanted)
        made = Provenance(QUICK, vars(options) | {"batch_norm": batch_norm or None}, "")
        points, removed = recall(
            store, units, name_of(QUICK, made, store.run.batch_norm), fresh=options.fresh
        )
        steps, old = store.file["steps"][()].tolist(), outdated(store, points)
        todo = [row for row in rows if steps[row] not in points or steps[row] in old]
        if options.dry_run:
            return plan_sharpness(options, todo, store)
        before = dict(points)
        if todo:
            run = StoredRun(store, options, options.precision)
            meter = Meter(run, options, budget, parallel, None)
            try:
                failed = _measure(store, units, CriticalMeter(meter), points, todo, progress)
            except KeyboardInterrupt as signal:
                stopped = signal
        found = replace(
            store.case, critical=tuple(points[steps[row]] for row in rows if steps[row] in points)
        )
    everything = sorted(points.values(), key=lambda point: point.step)
    new = [row for row in todo if steps[row] in points and points[steps[row]] is not before.get(steps[row])]
    if parallel.rank == 0 and new:
        made = provenance(
            QUICK,
            options,
            meter.run.objective if meter else None,
            seed=options.seed,
            precision=options.precision,
        )
        made.options["batch_norm"] = batch_norm or None
        write_critical(options.store, everything, made)
        units.clear()
    left = [steps[row] for row in rows if steps[row] not in points]
    if stopped is not None:
        raise Interrupted(
            stopped, f"interrupted, with {count(len(points), 'value')} kept and {len(left)} left"
        )
    outcome = _outcome(options, found, failed, left, removed, quiet=parallel.rank > 0)
    return replace(outcome, warnings=(*(meter.run.notes if meter else ()), *outcome.warnings))


def _measure(
    store: Store,
    units: Units,
    meter: CriticalMeter,
    points: dict[int, CriticalSharpness],
    todo: list[int],
    progress: Progress,
) -> dict[str, str]:
    """Add the missing values; under a budget coarse to fine. Returns the files that failed, with the reason."""
    steps, lrs, failed = store.file["steps"][()], store.lrs, {}
    limited = meter.meter.budget.limited
    order = [todo[i] for i in coarse_to_fine(len(todo))] if limited else todo
    with progress.task("critical sharpness", len(order), "checkpoint") as task:
        for row in order:
            if meter.meter.over():
                break
            following = int(steps[row + 1]) if row + 1 < len(steps) else None
            try:
                point = meter.measure(row, int(steps[row]), float(lrs[row]), following)
            except (CheckpointError, ModelError) as error:
                failed[store.files[row]] = error.message
                if len(failed) == len(order):
                    raise
                task.advance(note=f"{store.files[row]} failed")
                continue
            points[int(steps[row])] = point = replace(point, sha256=store.sha256[row])
            if meter.parallel.rank == 0:
                units.write(unit_key(store, row), np.frombuffer(json.dumps(plain(point)).encode(), np.uint8))
            ratio = "" if point.ratio is None else f": ratio {point.ratio:.3f}"
            task.advance(note=f"checkpoint {point.step}{ratio}, {point.forward_passes} forward passes")
    return failed


def _outcome(
    options: SharpnessOptions,
    case: Case,
    failed: dict[str, str],
    left: list[int],
    removed: list[str],
    *,
    quiet: bool,
) -> Outcome:
    points = case.critical
    known = [point for point in points if point.ratio is not None]
    peak = max(known, key=lambda point: point.ratio or 0, default=None)
    warnings = [*removed, *trace_warnings(case.training_log, case.look)]
    warnings += [f"{file} failed and is left out: {reason}" for file, reason in failed.items()]
    warnings += of_subset(case)
    reasons: dict[str, list[int]] = {}
    for point in points:
        if point.reason:
            reasons.setdefault(point.reason, []).append(point.step)
    warnings += [
        f"{len(steps)} of {len(points)} values, checkpoint {steps[0]}: {reason}"
        for reason, steps in reasons.items()
    ]
    if left and not failed:
        warnings.append(
            f"the budget of {options.budget} ended with {count(len(left), 'checkpoint')} not measured"
        )
    result = {
        "store": str(options.store),
        "critical_sharpness": points,
        "unit": case.run.axis.one,
        "peak": None if peak is None else {"step": peak.step, "ratio": peak.ratio},
        "first_step_past_threshold": next((p.step for p in known if (p.ratio or 0) >= 1), None),
        "forward_passes": sum(point.forward_passes for point in points),
        "gradients": sum(point.gradients for point in points),
        "steps_left": left,
        "failed": failed,
    }
    return Outcome(
        schema="opsig/quick-sharpness",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        warnings=() if quiet else tuple(warnings),
        exit_code=ExitCode.INCOMPLETE if failed or left else ExitCode.OK,
        view=case,
    )


def chosen_rows(store: Store, every: int, wanted: tuple[float, float]) -> list[int]:
    """The rows of the trace to measure: every so manyth of those within a range of steps.

    Raises:
        UsageError: there is no checkpoint in the range.
    """
    steps = store.file["steps"][()]
    inside = [row for row, step in enumerate(steps) if wanted[0] <= step <= wanted[1]]
    if not inside:
        raise UsageError(
            f"expected --steps to hold a checkpoint; the trace has {steps[0]} to {steps[-1]}",
            f"example: --steps {steps[0]}:{steps[-1]}",
        )
    return inside[::every]

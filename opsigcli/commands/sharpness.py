"""``opsig sharpness``: top Hessian eigenvalues along the trace, against the stability threshold."""

from __future__ import annotations

import json
import math

import numpy as np

from opsigcli.commands.context import StoredRun, provenance
from opsigcli.commands.stability import Meter
from opsigcli.errors import CheckpointError, ExitCode, Interrupted, ModelError
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.progress import Progress
from opsigcli.records import SharpnessPoint
from opsigcli.store.reader import Store, open_store, sharpness_point
from opsigcli.store.units import Units
from opsigcli.store.writer import locked, write_sharpness

# What a point depends on beside the checkpoint; points made with other values are measured again.
NUMERICS = ("top", "tolerance", "max_matvecs", "seed", "optimizer", "lr", "momentum", "model", "data")


def sharpness(options: SharpnessOptions, progress: Progress) -> Outcome:
    """Measure sharpness at every ``options.every``-th checkpoint of the trace.

    Each point is kept as it is found, so that an interrupted command goes on where it was.

    Raises:
        StoreError: there is no readable store.
        OpsigError: model or data cannot be opened, or no checkpoint can.
        Interrupted: a signal arrived; the points found so far are in the store.
    """
    with locked(options.store):
        with open_store(options.store) as store:
            units = Units(options.store, {name: getattr(options, name) for name in NUMERICS})
            rows = list(range(0, len(store.files), options.every))
            points = {} if options.fresh else _known(store, units)
            meter = None if all(row in points for row in rows) else Meter(StoredRun(store, options), options)
            failed, new, stopped = _measure(meter, store, rows, points, units, progress)
            objective = meter.run.objective if meter else None
            run = store.run
        if new:
            made = provenance("sharpness", options, objective)
            made.options["configuration"] = units.hash
            write_sharpness(options.store, list(points.values()), made)
            units.clear()
    if stopped is not None:
        todo = sum(row not in points for row in rows)
        raise Interrupted(stopped, f"interrupted: {new} new points are kept, {todo} are left")
    shown = [points[row] for row in rows if row in points]
    return _outcome(options, shown, failed, run.optimizer)


def _known(store: Store, units: Units) -> dict[int, SharpnessPoint]:
    """The points already measured in this very way: in the store, or as units a stopped command left."""
    made = store.provenance.get("sharpness")
    steps = {int(step): row for row, step in enumerate(store.file["steps"][()])}
    points: dict[int, SharpnessPoint] = {}
    if made is not None and made.options.get("configuration") == units.hash:
        points = {steps[point.step]: point for point in store.sharpness if point.step in steps}
    for row in steps.values():
        raw = units.read(_key(store, row))
        if raw is not None:
            points[row] = sharpness_point(json.loads(raw.tobytes()))
    return points


def _measure(
    meter: Meter | None,
    store: Store,
    rows: list[int],
    points: dict[int, SharpnessPoint],
    units: Units,
    progress: Progress,
) -> tuple[dict[str, str], int, KeyboardInterrupt | None]:
    """Add the missing points; returns the files that failed, the number of new points, and a signal that came.

    Raises:
        CheckpointError, ModelError: no checkpoint could be measured.
    """
    steps, lrs = store.file["steps"][()], store.lrs
    failed: dict[str, str] = {}
    new = 0
    try:
        with progress.task("sharpness", len(rows), "checkpoint") as task:
            for row in rows:
                if row not in points and meter is not None:
                    try:
                        point = meter.measure(
                            row, int(steps[row]), float(lrs[row]), lambda note: task.advance(0, note)
                        )
                    except (CheckpointError, ModelError) as error:
                        failed[store.files[row]] = error.message
                        if len(failed) == len(rows):
                            raise
                        task.advance(note=f"{store.files[row]} failed")
                        continue
                    units.write(_key(store, row), np.frombuffer(json.dumps(plain(point)).encode(), np.uint8))
                    points[row] = point
                    new += 1
                task.advance(note=_note(points[row]))
    except KeyboardInterrupt as signal:
        return failed, new, signal
    return failed, new, None


def _key(store: Store, row: int) -> str:
    return f"sharpness-{store.sha256[row][:16]}"


def _note(point: SharpnessPoint) -> str:
    ratio = "" if point.ratio is None else f", ratio {point.ratio:.3f}"
    return f"step {point.step}: {point.eigenvalues[0]:.4g}{ratio}"


def _outcome(
    options: SharpnessOptions, points: list[SharpnessPoint], failed: dict[str, str], optimizer: str
) -> Outcome:
    warnings = [f"{file} failed and is left out: {reason}" for file, reason in failed.items()]
    loose = [point for point in points if not point.converged]
    if loose:
        warnings.append(
            f"{len(loose)} of {len(points)} points did not converge; step {loose[0].step}: {loose[0].reason}"
        )
    bare = [point for point in points if point.ratio is None and point.reason and point.converged]
    if bare:
        warnings.append(bare[0].reason)
    if optimizer == "sgd":
        warnings.append(
            "with minibatches, the sharpness of the full loss stays below the stability threshold"
        )
    finite = [point for point in points if math.isfinite(point.eigenvalues[0])]
    peak = max(finite, key=lambda point: point.eigenvalues[0], default=None)
    reached = next((p.step for p in points if p.ratio is not None and p.ratio >= 1), None)
    result = {
        "store": str(options.store),
        "points": points,
        "peak": None
        if peak is None
        else {"step": peak.step, "sharpness": peak.eigenvalues[0], "ratio": peak.ratio},
        "first_step_at_threshold": reached,
        "failed": failed,
    }
    return Outcome(
        schema="opsig/sharpness",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        warnings=tuple(warnings),
        exit_code=ExitCode.INCOMPLETE if failed else ExitCode.OK,
        view=tuple(points),
    )

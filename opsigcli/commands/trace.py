"""``opsig trace``: per-example losses and loss deltas at every checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.checkpoints.series import Series, open_series
from opsigcli.commands.context import SPECS, absolute_model, build_objective, provenance, specs
from opsigcli.commands.dry_run import plan_trace
from opsigcli.commands.hint import model_hint
from opsigcli.commands.loading import Loader
from opsigcli.commands.optimizer_facts import recognise
from opsigcli.commands.plan import Row, Worker, plan_rows
from opsigcli.datasets import open_source
from opsigcli.errors import CheckpointError, ExitCode, Interrupted, ModelError, StoreError, UsageError
from opsigcli.options import MANIFEST, TraceOptions
from opsigcli.outcome import Outcome
from opsigcli.progress import Progress
from opsigcli.records import ExampleSource, Run
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import TraceContent, locked, write_trace
from opsigcli.trust import require_trust, sign
from opsigcli.usercode import absolute_spec

# What the losses depend on. Another value of any of these is another run, and belongs in another store.
IDENTITY = ("model", "loss", "fingerprint", "key", "weights", "partial")


def trace(options: TraceOptions, progress: Progress) -> Outcome:
    """Compute and store the loss trace of a folder of checkpoints.

    Raises:
        CheckpointError: no readable series of at least two checkpoints.
        UsageError: neither options nor a manifest name the model and the data.
        StoreError: the store holds another run, or cannot be written.
        Interrupted: a signal arrived; finished checkpoints are kept.
    """
    series = open_series(
        options.checkpoints,
        key=options.key,
        weights=options.weights or "",
        order=options.order,
        unsafe=options.unsafe_pickle,
    )
    warnings = list(series.notes)
    run, source = _open_run(options, series, warnings)
    if options.dry_run:
        return plan_trace(options, series, run, source, warnings)
    with ExitStack() as stack:
        stack.enter_context(locked(options.store))
        store = None
        if options.store.exists() and not options.fresh:
            store = stack.enter_context(open_store(options.store))
            _require_same_run(store, run)
        rows = plan_rows(series, store)
        if len(rows) < 2:
            raise CheckpointError(
                f"expected at least two checkpoints, to take loss deltas between them; found one "
                f"({rows[0].file}) in {series.folder}",
                "point opsig at the folder that holds the whole run, or save checkpoints more often",
            )
        objective = build_objective(
            run.model, source, run.loss, device=options.device, batch_size=options.batch_size
        )
        numerics = {"batch_size": options.batch_size, "device": str(objective.device)}
        units = Units(options.store, {name: getattr(run, name) for name in IDENTITY} | numerics)
        worker = Worker(series, objective, units, Loader(objective.model, run.partial))
        done, failed, stopped = _compute(worker, rows, progress)
        if worker.loader.fits:
            run = replace(run, fit="; ".join(worker.loader.fits))
            warnings += worker.loader.fits
        failed |= {item.file: item.error.message for item in series.failed}
        new = [row for row in done if row.stored is None]
        if new and len(done) > 1:
            content = TraceContent(
                run=run,
                signature=sign(specs(run)),
                steps=[row.step for row in done],
                files=[row.file for row in done],
                sha256=[row.sha256 for row in done],
                lrs=[row.lr for row in done],
                example_ids=source.ids,
                labels=source.labels,
                names=source.names,
                rows=_losses(done, store, worker),
                provenance=provenance("trace", options, objective),
                known_pairs=source.known_pairs,
            )
            write_trace(options.store, content)
            units.clear()
        if stopped is not None:
            todo = len(rows) - len(done)
            raise Interrupted(
                stopped, f"interrupted: {len(done)} checkpoints are traced and kept, {todo} are left"
            )
    return _outcome(options, run, series, rows, done, failed, warnings)


def _open_run(options: TraceOptions, series: Series, warnings: list[str]) -> tuple[Run, ExampleSource]:
    """The run as options and manifest say, and its data."""
    manifest = series.manifest
    chosen: dict[str, str] = {}
    inherited: list[str] = []
    for name in SPECS:
        given, found = getattr(options, name), getattr(manifest, name, None)
        if given and found and given != found:
            warnings.append(f"--{name} {given} is used, but {MANIFEST} says the run was made with {found}")
        if not given and found:
            inherited.append(found)
        chosen[name] = given or found or ("ce" if name == "loss" else "")
    if not chosen["model"] or not chosen["data"]:
        lacking = " and ".join(f"--{name}" for name in ("model", "data") if not chosen[name])
        raise UsageError(
            f"expected {lacking}: there is no {MANIFEST} in {series.folder} to read it from",
            (not chosen["model"] and model_hint(series))
            or "example: opsig trace CKPTS --model torchvision:resnet18 --data folder:images/train",
        )
    if manifest is not None:
        signed = [getattr(manifest, name) for name in SPECS]
        where = str(series.folder / MANIFEST)
        require_trust(inherited, signed, manifest.signature, where, trusted=options.trust_manifest)
    source = open_source(chosen["data"])
    if manifest is not None and not options.data and manifest.fingerprint not in ("", source.fingerprint):
        warnings.append(
            f"the examples in {chosen['data']} are not those the run was trained on, by their fingerprint"
        )
    run = Run(
        checkpoints=str(series.folder.resolve()),
        model=absolute_model(chosen["model"]),
        data=source.spec,
        loss=absolute_spec(chosen["loss"]),
        key=series.key,
        weights=series.weights,
        partial=options.partial or (manifest is not None and manifest.partial),
        input_shape=source.input_shape,
        classes=source.classes,
        fingerprint=source.fingerprint,
        transform=source.transform,
    )
    return _with_optimizer(run, series, warnings), source


def _with_optimizer(run: Run, series: Series, warnings: list[str]) -> Run:
    """The run with its optimizer: as the manifest says, or as the last checkpoint shows."""
    manifest = series.manifest
    if manifest is not None and manifest.optimizer:
        return replace(
            run, optimizer=manifest.optimizer, hyper=manifest.hyper, batch_size=manifest.batch_size
        )
    found = recognise(series)
    if found.reason:
        warnings.append(f"optimizer: {found.reason}")
    return replace(run, optimizer=found.name, hyper=found.hyper)


def _require_same_run(store: Store, run: Run) -> None:
    """Refuse a store of another run, naming what differs."""
    old = store.run
    for name in IDENTITY:
        before, now = getattr(old, name), getattr(run, name)
        if before != now:
            what = "data (by its fingerprint)" if name == "fingerprint" else name
            raise StoreError(
                f"{store.path} holds another run: its {what} is {before}, here it is {now}",
                "name another store with --store, or replace this one with --fresh",
            )


def _compute(
    worker: Worker, rows: list[Row], progress: Progress
) -> tuple[list[Row], dict[str, str], KeyboardInterrupt | None]:
    """Finish the rows one by one; those that fail are named with the reason.

    Raises:
        CheckpointError, ModelError: no row could be finished.
    """
    done: list[Row] = []
    failed: dict[str, str] = {}
    first: CheckpointError | ModelError | None = None
    try:
        with progress.task("trace", len(rows), "checkpoint") as task:
            for row in rows:
                note = "kept"
                if row.stored is None:
                    try:
                        with np.errstate(invalid="ignore"):
                            note = f"mean loss {worker.finish(row).mean():.4f}"
                    except (CheckpointError, ModelError) as error:
                        failed[row.file] = error.message
                        first = first or error
                        task.advance(note=f"{row.file} failed")
                        continue
                done.append(row)
                task.advance(note=f"step {row.step}, {note}")
    except KeyboardInterrupt as signal:
        return done, failed, signal
    if first is not None and all(row.stored is not None for row in done):
        raise first
    return done, failed, None


def _losses(rows: list[Row], store: Store | None, worker: Worker) -> Iterator[NDArray[np.float32]]:
    for row in rows:
        if row.stored is not None and store is not None:
            yield store.file["losses"][row.stored]
        else:
            yield worker.finish(row)


def _outcome(
    options: TraceOptions,
    run: Run,
    series: Series,
    rows: list[Row],
    done: list[Row],
    failed: dict[str, str],
    warnings: list[str],
) -> Outcome:
    with open_store(options.store) as store:
        trace_ = store.trace
    means = trace_.mean_losses
    infinite = [
        int(s) for s, row in zip(trace_.steps, trace_.losses, strict=True) if not np.isfinite(row).all()
    ]
    if infinite:
        first = ", ".join(map(str, infinite[:5])) + (" …" if len(infinite) > 5 else "")
        warnings.append(
            f"some losses are not finite (NaN or infinite) at {len(infinite)} checkpoints: steps {first}"
        )
    warnings += [f"{file} failed and is left out: {reason}" for file, reason in failed.items()]
    new = {row.file for row in done if row.stored is None}
    result: dict[str, Any] = {
        "store": str(options.store),
        "examples": len(trace_.example_ids),
        "steps": trace_.steps,
        "mean_losses": means,
        "checkpoints": [
            {
                "file": row.file,
                "step": row.step,
                "status": "failed" if row.file in failed else "computed" if row.file in new else "kept",
            }
            for row in rows
        ],
        "failed": failed,
        "skipped": {item.file: item.reason for item in (*series.skipped, *series.duplicates)},
        "not_finite_steps": infinite,
    }
    return Outcome(
        schema="opsig/trace",
        inputs={"checkpoints": str(options.checkpoints), "run": run},
        result=result,
        warnings=tuple(warnings),
        messages=(f"wrote {options.store}; next: opsig mine, opsig sharpness, opsig report",),
        exit_code=ExitCode.INCOMPLETE if failed else ExitCode.OK,
        view=trace_,
    )

"""``opsig trace``: per-example losses and loss deltas at every checkpoint."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from opsigcli.checkpoints.series import Series, open_series
from opsigcli.command_line import command
from opsigcli.errors import CheckpointError, ExitCode, Interrupted, UsageError
from opsigcli.examples import ExampleSource
from opsigcli.gradients.seen import keep_seen
from opsigcli.options import MANIFEST, InitOptions, TraceOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import require_use
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.records import Run
from opsigcli.reporting.training import training_words
from opsigcli.runs.fork import forked_words
from opsigcli.runs.optimizer_state import optimizer_of
from opsigcli.runs.own_config import in_full, with_config
from opsigcli.runs.run_specs import SPECS, absolute_model, same_spec, specs
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.suggest_model import model_hint
from opsigcli.runs.written_again import said_of
from opsigcli.stability.contradiction import contradiction
from opsigcli.store.reader import open_store
from opsigcli.tracing.batch_norm_gap import gap_warnings
from opsigcli.tracing.narrowed import narrows, open_narrowed
from opsigcli.tracing.plan import plan_trace
from opsigcli.tracing.rows import Row
from opsigcli.tracing.session import Session
from opsigcli.tracing.sharding import find_sharding
from opsigcli.tracing.unmoved import unmoved
from opsigcli.trust import require_trust
from opsigcli.usercode import absolute_spec

# What says which step a virtual one is: losses at the checkpoints do not depend on it.
OF_STEPS = ("optimizer", "lr", "momentum", "weight_decay", "betas", "eps", "lr_groups")
POLL = 1.0  # seconds between two looks at a folder that is watched


def trace(options: TraceOptions, progress: Progress) -> Outcome:
    """Compute and store the loss trace of a folder of checkpoints.

    Raises:
        CheckpointError: no readable checkpoint.
        UsageError: neither options nor a manifest name the model and the data, or an option has no part in the trace.
        StoreError: the store holds another run, or cannot be written.
        Interrupted: a signal arrived; finished checkpoints are kept.
    """
    if not options.virtual_step:
        require_use(
            options, OF_STEPS, "--virtual-step", "add --virtual-step; opsig sharpness takes them as well"
        )
    if options.watch:
        return _watch(options, progress)
    require_use(options, ("idle",), "--watch", "add --watch")
    series = _series(options)
    warnings = list(series.notes)
    run, source = open_run(options, series, warnings)
    if options.dry_run:
        return plan_trace(options, series, run, source, warnings, progress)
    session = Session(options, run, source, find_sharding(options.shard))
    session.trace(series, progress)
    return _outcome(session, series, warnings, progress)


def _series(options: TraceOptions) -> Series:
    return open_series(
        options.checkpoints,
        key=options.key,
        weights=options.weights or "",
        order=options.order,
        unsafe=options.unsafe_pickle,
        steps_per_epoch=options.steps_per_epoch,
    )


def _watch(options: TraceOptions, progress: Progress) -> Outcome:
    """Trace again whenever the folder has changed, until the planned steps are reached or nothing more comes.

    A checkpoint that cannot be read may be one that is still being written: it is tried again at every change.

    Raises:
        UsageError: as ``trace``, or options do not go with watching.
        CheckpointError: nothing could be traced in the time given.
        StoreError: as ``trace``.
        Interrupted: a signal arrived: the usual end where no manifest tells how many steps there will be.
    """
    if options.shard is not None or options.dry_run:
        raise UsageError(
            "--watch is for one process that computes",
            "leave out --shard and --dry-run, or watch without them",
        )
    session: Session | None = None
    series: Series | None = None
    warnings: list[str] = []
    seen: object = None
    changed = time.monotonic()
    try:
        while True:
            error: CheckpointError | None = None
            try:
                series = _series(options)
                now = [(c.file, c.size, c.modified) for c in series], [f.file for f in series.failed]
                if now != seen and len(series) > 1:
                    seen, changed, warnings = now, time.monotonic(), list(series.notes)
                    session = session or Session(options, *open_run(options, series, warnings), None)
                    session.trace(series, progress)
                    progress.log(f"traced up to {series.unit} {series.steps[-1]}; watching {series.folder}")
                    if (
                        series.manifest
                        and series.manifest.steps
                        and series.steps[-1] >= series.manifest.steps
                    ):
                        return _outcome(session, series, warnings, progress)
            except CheckpointError as found:  # nothing there yet
                error = found
            if time.monotonic() - changed > options.idle:
                if session is None or series is None or not session.done:
                    raise error or CheckpointError(
                        f"expected at least two checkpoints in {options.checkpoints} within {options.idle:g} s",
                        "start watching when the run has begun, or wait longer with --idle",
                    )
                return _outcome(session, series, warnings, progress)
            time.sleep(POLL)
    except KeyboardInterrupt as signal:
        traced = len(session.done) if session else 0
        raise Interrupted(signal, f"stopped watching; {traced} checkpoints are traced and kept") from None


def open_run(options: TraceOptions, series: Series, warnings: list[str]) -> tuple[Run, ExampleSource]:
    """The run as options and manifest say, and its data.

    Raises:
        UsageError: neither names the model and the data.
        TrustError: the manifest names code and this user did not write it.
        DatasetError: the data cannot be opened.
    """
    manifest = series.manifest
    chosen: dict[str, str] = {}
    inherited: list[str] = []
    for name in SPECS:
        given, found = getattr(options, name), getattr(manifest, name, None)
        given = in_full(given, series) if name == "model" else given
        if given and found and not same_spec(name, given, found):
            warnings.append(f"--{name} {given} is used, but {MANIFEST} says the run was made with {found}")
        if not given and found:
            inherited.append(found)
        chosen[name] = given or found or (InitOptions.loss if name == "loss" else "")
    if not chosen["model"] or not chosen["data"]:
        lacking = " and ".join(f"--{name}" for name in ("model", "data") if not chosen[name])
        raise UsageError(
            f"expected {lacking}: there is no {MANIFEST} in {series.folder} to read it from",
            (not chosen["model"] and model_hint(series))
            or "example: opsig trace CKPTS --model torchvision:resnet18 --data folder:images/train",
        )
    if manifest is not None:
        where = str(series.folder / MANIFEST)
        require_trust(inherited, specs(manifest), manifest.signature, where, trusted=options.trust_manifest)
    source = open_narrowed(chosen["data"], options)
    if (
        manifest is not None
        and not options.data
        and not narrows(options)
        and manifest.fingerprint not in ("", source.fingerprint)
    ):
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
        unit=series.unit,
        forked=forked_words(manifest),
    )
    return _with_optimizer(with_config(run, series, warnings), series, warnings), source


def _with_optimizer(run: Run, series: Series, warnings: list[str]) -> Run:
    """The run with its optimizer: as the manifest says, or as the last checkpoint shows; and with its seed."""
    found = optimizer_of(series)
    if found.reason:
        warnings.append(f"optimizer: {found.reason}")
    batch_size = series.manifest.batch_size if series.manifest is not None else None
    seed = series.manifest.seed if series.manifest is not None else None
    return replace(run, optimizer=found.name, hyper=found.hyper, batch_size=batch_size, seed=seed)


def _outcome(session: Session, series: Series, warnings: list[str], progress: Progress) -> Outcome:
    options, failed = session.options, session.failed
    worker = session.worker
    assert worker is not None
    summary, infinite = session.summary, session.infinite
    if summary is not None:
        keep_seen(options.store, session.source, progress)
        warnings += unmoved(options.store, summary.mean_losses)
    if infinite:
        first = ", ".join(map(str, infinite[:5])) + (" …" if len(infinite) > 5 else "")
        warnings.append(
            f"some losses are not finite (NaN or infinite) at {count(len(infinite), 'checkpoint')}: {first}"
            + (f"; the mean loss is {summary.mean_loss.words}" if summary and summary.mean_loss.words else "")
        )
    logged = session.log
    if logged is not None and logged.verdict == "above":
        warnings.append(logged.words)
    warnings += () if session.look is None else session.look.warnings
    if len(session.rows) == 1:
        warnings.append(
            "there is one checkpoint: its losses and sharpness can be measured, but loss deltas, and what opsig mine "
            "finds in them, need two"
        )
    warnings += [said_of(session.again)] if session.again else []
    warnings += [f"--fresh removed {text}" for text in session.removed]
    warnings += gap_warnings(session.gaps, session.run.batch_norm, session.run.axis)
    warnings += worker.evaluator.objective.notes
    warnings += worker.loader.fits
    warnings += [f"{file} failed and is left out: {reason}" for file, reason in failed.items()]
    if worker.virtual is not None and summary is not None:
        warnings += worker.virtual.notes
        with open_store(options.store) as store:
            own = replace(options, batch_size=worker.evaluator.batch_size)
            rows = range(len(summary.steps))
            if why := contradiction(StoredRun(store, own), worker.virtual.optimizer, rows, 0):  # type: ignore[arg-type]
                warnings.append(f"virtual steps are made by a rule that the weights contradict: {why}")
    result: dict[str, Any] = {
        "store": str(options.store),
        "examples": len(session.source),
        "measured": worker.evaluator.objective.n,
        "mean": worker.evaluator.objective.mean or "over examples",
        "unit": series.unit,
        "steps": summary.steps if summary else [],
        "mean_losses": summary.mean_losses if summary else [],
        "checkpoints": [
            {"file": row.file, "step": row.step, "status": _status(row, session)} for row in session.rows
        ],
        "failed": failed,
        "skipped": {item.file: item.reason for item in (*series.skipped, *series.duplicates)},
        "not_finite_steps": infinite,
        "units_computed": worker.computed,
        "units_waited_for": session.waiting,
        "worker": str(session.sharding) if session.sharding else None,
        "virtual": summary.virtual if summary else None,
        "training_log": logged,
        "recorded_facts": session.facts,
        "batch_norm": session.batch_norm,
        "look": session.look,
        "probes": [traced.probe for traced in session.probes],
    }
    taken = session.source.transform.get("examples")
    further = ", ".join(command(verb, store=options.store) for verb in ("mine", "sharpness", "report"))
    message = f"wrote {options.store}; next: {further}"
    if session.waiting:
        message = (
            f"worker {session.sharding}: {worker.computed} units computed; {session.waiting} units of other workers "
            "are not there yet. The last worker to finish writes the store; run opsig trace if one was lost"
        )
    return Outcome(
        schema="opsig/trace",
        inputs={"checkpoints": str(options.checkpoints), "run": session.run},
        result=result,
        warnings=tuple(warnings),
        messages=(
            *((f"a subset of the examples was traced, {taken}",) if taken else ()),
            *((f"the mean loss is {mean}",) if (mean := worker.evaluator.objective.mean) else ()),
            *training_words(logged, session.facts, session.look),
            message,
        ),
        exit_code=ExitCode.INCOMPLETE if failed else ExitCode.OK,
        view=summary,
    )


def _status(row: Row, session: Session) -> str:
    if row.file in session.failed:
        return "failed"
    if row.stored is not None:
        return "kept"
    return "computed" if row in session.done else "waiting"

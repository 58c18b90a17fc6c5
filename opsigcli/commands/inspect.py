"""``opsig inspect``: what is in a folder of checkpoints, from headers alone; or which run a store is of."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.base import Checkpoint
from opsigcli.checkpoints.choose import averages, choose
from opsigcli.checkpoints.folder import Failed, Skipped
from opsigcli.checkpoints.hub_cache import is_hub
from opsigcli.checkpoints.parameter_count import parameter_count
from opsigcli.checkpoints.recorded_facts import recorded_facts, traced_as
from opsigcli.checkpoints.series import Series, open_series
from opsigcli.command_line import next_command
from opsigcli.errors import CheckpointError, ExitCode
from opsigcli.options import InspectOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import require_use
from opsigcli.progress import Progress
from opsigcli.reporting.summary import origins
from opsigcli.runs.optimizer_state import lr_of, optimizer_name, optimizer_of

# What says how checkpoints are read and put in order: of no use where a store is looked at.
OF_CHECKPOINTS = ("key", "weights", "order", "steps_per_epoch")


def inspect(options: InspectOptions, progress: Progress) -> Outcome:
    """Describe the checkpoints at a path: format, step and where it was found, lr, optimizer, weights, why skipped.

    No tensor is read and no file is hashed in full, so the time does not grow with the tensors' sizes. Checkpoints
    that cannot be put in order are shown too, with what stands in the way as a warning. Of a store, the run that it
    belongs to, and what it holds of it.

    Raises:
        CheckpointError: there is no checkpoint to read, or none has the weights that are asked for.
        UsageError: an option is for checkpoints, and a store is named.
        StoreError: a store is damaged, or was written by a newer opsig.
    """
    if options.checkpoints.is_file():
        from opsigcli.store.recognise import is_store  # h5py, which folders of checkpoints do without

        if is_store(options.checkpoints):
            require_use(options, OF_CHECKPOINTS, "checkpoints", "name a folder of checkpoints")
            return _inspect_store(options.checkpoints)
    warnings: list[str] = []
    disorder = False
    try:
        series = _open(options, options.order)
    except CheckpointError as error:
        if options.order != "auto":
            raise
        try:
            series = _open(options, "name")
        except CheckpointError:
            raise error from None
        disorder = True
        warnings.append(f"{error.message} ({error.hint})" if error.hint else error.message)
    warnings += series.notes
    optimizer = optimizer_of(series)
    if optimizer.reason:
        warnings.append(f"optimizer: {optimizer.reason}")
    warnings += _lacking(series, options)
    rows = [_row(checkpoint) for checkpoint in series]
    result: dict[str, Any] = {
        "folder": str(series.folder),
        "unit": series.unit,
        "checkpoints": rows,
        "skipped": [_left_out(item) for item in (*series.skipped, *series.duplicates)],
        "failed": [_failed(item) for item in series.failed],
        "gaps": [{"after": a, "before": b, "usual": usual} for a, b, usual in series.gaps],
        "optimizer": {"name": optimizer.name or None, "hyper": optimizer.hyper},
        "recorded_facts": recorded_facts(series, traced_as(series)),
        "manifest": series.manifest is not None,
        "suggested_model": next((c.header.model for c in series if c.header.model), ""),
    }
    return Outcome(
        schema="opsig/inspect",
        inputs={"checkpoints": str(options.checkpoints), "order": options.order},
        result=result,
        warnings=tuple(warnings),
        messages=() if disorder else _next(series, rows, options),
        exit_code=ExitCode.INCOMPLETE if series.failed else ExitCode.OK,
        view=result,
    )


def _inspect_store(path: Path) -> Outcome:
    from opsigcli.store.reader import open_store

    with open_store(path) as store:
        case = store.case
    return Outcome(
        schema="opsig/store",
        inputs={"store": str(path)},
        result={
            "run": case.run,
            "unit": case.run.axis.one,
            "steps": case.trace.steps,
            "examples": len(case.trace.example_ids),
            "subset": case.run.transform.get("examples"),
            "commands": [name for name, _ in origins(case)],
        },
        messages=(next_command("report", store=path),),
        view=case,
    )


def _open(options: InspectOptions, order: str) -> Series:
    return open_series(
        options.checkpoints,
        key=options.key,
        weights=options.weights or "",
        order=order,
        examine=True,
        steps_per_epoch=options.steps_per_epoch,
    )


def _lacking(series: Series, options: InspectOptions) -> list[str]:
    """Checkpoints without the weights that are asked for, which a trace would refuse.

    Raises:
        CheckpointError: none of them has these.
    """
    if options.key is None and options.weights is None:
        return []
    lacking: list[tuple[str, CheckpointError]] = []
    for checkpoint in series:
        sets = checkpoint.header.candidates
        # One set alone is the model's, whatever it is called: as a trace takes it.
        weights = "" if options.weights == "model" and len(sets) == 1 else options.weights or ""
        try:
            choose(checkpoint.path, sets, options.key, weights)
        except CheckpointError as error:
            lacking.append((checkpoint.file, error))
    if lacking and len(lacking) == len(series):
        raise lacking[0][1]
    return [f"{file}: {error.message}" for file, error in lacking]


def _row(checkpoint: Checkpoint) -> dict[str, Any]:
    sets = checkpoint.header.candidates
    counts = {
        key or "(whole file)": {
            "tensors": len(tensors),
            "parameters": parameter_count(tensors),
            "average": key in averages(sets),
        }
        for key, tensors in sets.items()
    }
    first = next(iter(sets.values()), {})
    kinds = Counter(tensor.dtype for tensor in first.values())
    return {
        "file": checkpoint.file,
        "format": checkpoint.format,
        "step": checkpoint.step,
        "step_source": checkpoint.step_source,
        "epoch": checkpoint.epoch,
        "lr": lr_of(checkpoint),
        "optimizer": optimizer_name(checkpoint.header) or None,
        "dtype": kinds.most_common(1)[0][0] if kinds else None,
        "parameters": parameter_count(first),
        "weights": counts,
        "bytes": checkpoint.size,
        "notes": list(checkpoint.header.notes),
    }


def _left_out(item: Skipped) -> dict[str, Any]:
    return {"file": item.file, "reason": item.reason, "convert": item.command or None}


def _failed(item: Failed) -> dict[str, Any]:
    return {"file": item.file, "reason": item.error.message, "hint": item.error.hint}


def _next(series: Series, rows: list[dict[str, Any]], options: InspectOptions) -> tuple[str, ...]:
    """The one thing to do next, with the choices made here."""
    chosen = {
        "--key": options.key,
        "--weights": options.weights,
        "--order": options.order,
        "--steps-per-epoch": options.steps_per_epoch,
    }
    given = [(name, str(value)) for name, value in chosen.items() if value not in (None, "", "auto")]
    words = shlex.join([word for pair in given for word in pair])
    sets = list(rows[0]["weights"]) if rows else []
    place = options.checkpoints if is_hub(options.checkpoints) else series.folder
    if len(sets) > 1 and not options.key and not series.weights:
        return (
            f"these hold {len(sets)} sets of weights: add --key {shlex.quote(sets[0])} (or another) to opsig trace",
        )
    if series.manifest:
        return (next_command("trace", place, more=words),)
    return (next_command("trace", place, more=f"{words} --model SPEC --data SPEC".strip()),)

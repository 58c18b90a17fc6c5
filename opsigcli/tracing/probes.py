"""What the model answers to probes at every checkpoint of a store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import Interrupted
from opsigcli.probe_records import ProbeTrace
from opsigcli.runs.probes import OpenProbe, probabilities
from opsigcli.store.probes import write_probes
from opsigcli.store.reader import open_store
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsigcli.progress import Progress
    from opsigcli.records import Floats
    from opsigcli.tracing.worker import Worker

MOST = 1000  # classes up to which all are kept
LIKELIEST = 100  # of more


def keep_probes(
    store: Path, asked: Sequence[OpenProbe], worker: Worker, progress: Progress
) -> tuple[ProbeTrace, ...]:
    """Bring the probes of a store up to its checkpoints: those asked for now, and those that it has already.

    Losses are not computed for it. Every answer is kept at once, so that a process that was killed goes on.

    Args:
        store: its path; whole.
        asked: probes that are asked for.
        worker: that traced it.
        progress: says how far it is.

    Raises:
        ObjectiveError: the model cannot answer it.
        ModelError: weights do not fit.
        StoreError: the store cannot be written.
        Interrupted: a signal arrived; the answers so far are kept.
    """
    with open_store(store) as opened:
        known, sha256 = list(opened.probes), opened.sha256
        steps = opened.file["steps"][()].tolist()
    new = [each for each in asked if each.probe.digest not in {traced.probe.digest for traced in known}]
    todo = [OpenProbe(t.probe, t.input, t.probe.column, t.picture) for t in known] + new
    series = worker.series
    places = {series.sha256(place): place for place in range(len(series))} if todo else {}
    lacking = [
        (row, places[sha])
        for row, sha in enumerate(sha256)
        if sha in places and (new or any(np.isnan(traced.probabilities[row]).all() for traced in known))
    ]
    if not lacking:
        return tuple(known)
    units = Units(store, {"probes": [each.probe.digest for each in todo]})
    answers: dict[int, list[Floats]] = {}
    try:
        with progress.task("probe", len(lacking), "checkpoint") as task:
            for row, place in lacking:
                answers[row] = _answers(todo, units, sha256[row], worker, place)
                task.advance(note=f"checkpoint {steps[row]}")
    except KeyboardInterrupt as signal:
        raise Interrupted(
            signal,
            f"interrupted: the trace is kept, and the probes at {len(answers)} of {len(lacking)} checkpoints",
        ) from None
    traced = tuple(
        _merged(
            each,
            known[i] if i < len(known) else None,
            {row: all_of[i] for row, all_of in answers.items()},
            len(steps),
        )
        for i, each in enumerate(todo)
    )
    write_probes(store, traced)
    units.clear()
    return traced


def _answers(
    todo: Sequence[OpenProbe], units: Units, sha256: str, worker: Worker, place: int
) -> list[Floats]:
    """The answers to all probes at one checkpoint, from its unit where there is one."""
    key = f"probe-{sha256[:32]}"
    found = units.read(key, (None,))
    if found is None:
        series = worker.series
        worker.loader.load(series.read(place), series.checkpoints[place].file)
        each = [probabilities(worker.evaluator.objective, opened) for opened in todo]
        units.write(key, np.concatenate(each))
        return each
    return np.split(found, len(todo))


def _merged(opened: OpenProbe, before: ProbeTrace | None, found: dict[int, Floats], rows: int) -> ProbeTrace:
    """A probe with its new answers; what was measured before stays."""
    if before is not None:
        whole = before.probabilities.copy()
        for row, values in found.items():
            if np.isnan(whole[row]).all():
                whole[row] = values[before.classes]
        return replace(before, probabilities=whole)
    first = next(iter(found.values()))
    classes = np.arange(len(first))
    if len(first) > MOST:
        highest = np.max(list(found.values()), axis=0)
        classes = np.sort(np.argsort(-highest, kind="stable")[:LIKELIEST])
    whole = np.full((rows, len(classes)), np.nan, dtype=np.float32)
    for row, values in found.items():
        whole[row] = values[classes]
    return ProbeTrace(opened.probe, opened.input, classes, whole, opened.picture)

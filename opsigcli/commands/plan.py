"""Which rows a trace will have: those an existing store holds, and those still to compute."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from opsigcli.checkpoints.series import Series
from opsigcli.errors import StoreError
from opsigcli.store.reader import Store


@dataclass(frozen=True)
class Row:
    """One checkpoint of the trace."""

    step: int
    file: str
    sha256: str
    lr: float  # NaN when unknown
    stored: int | None  # its row in the existing store, or None
    place: int | None  # its place in the series, or None when the file is gone


def plan_rows(series: Series, store: Store | None) -> list[Row]:
    """The rows of the series and of the store together, by step.

    A checkpoint is known again by its content, so a folder that keeps only its newest files can be traced
    again and again into one store.

    Raises:
        StoreError: the store has other weights at a step of the series: it holds another run.
    """
    known = {} if store is None else {sha: row for row, sha in enumerate(store.sha256)}
    rows = []
    for place, checkpoint in enumerate(series.checkpoints):
        sha = series.sha256(place)
        lr = float("nan") if checkpoint.lr is None else checkpoint.lr
        rows.append(Row(checkpoint.step, checkpoint.file, sha, lr, known.pop(sha, None), place))
    if store is not None:
        steps = store.file["steps"][()]
        rows += [
            Row(int(steps[old]), store.files[old], sha, float(store.lrs[old]), old, None)
            for sha, old in known.items()
        ]
    rows.sort(key=lambda row: row.step)
    for before, after in itertools.pairwise(rows):
        if before.step == after.step and store is not None:
            raise StoreError(
                f"{store.path} holds another run: at step {after.step} it has other weights than "
                f"{series.folder} ({before.file} and {after.file} differ)",
                "name another store with --store, or replace this one with --fresh",
            )
    return rows

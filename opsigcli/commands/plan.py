"""Which rows a trace will have: those an existing store holds, and those still to compute."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opsigcli.checkpoints.series import Series
from opsigcli.commands.loading import Loader
from opsigcli.errors import StoreError
from opsigcli.objective.base import Objective
from opsigcli.store.reader import Store
from opsigcli.store.units import Units

SHARD = 1 << 18  # examples in one unit of work; units do not depend on who computes them


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


@dataclass(frozen=True)
class Worker:
    """Computes rows, one unit (checkpoint × shard of examples) at a time."""

    series: Series
    objective: Objective
    units: Units
    loader: Loader

    def finish(self, row: Row) -> NDArray[np.float32]:
        """The losses (N,) of one row: read from its units, and computed where they are not there."""
        shards = list(self._shards())
        parts = [self.units.read(self._key(row, number)) for number, _ in shards]
        if any(part is None for part in parts):
            self._load(row)
        for number, positions in shards:
            if parts[number] is None:
                part = self.objective.losses(positions)
                self.units.write(self._key(row, number), part)
                parts[number] = part
        return np.concatenate([part for part in parts if part is not None])

    def _load(self, row: Row) -> None:
        assert row.place is not None  # rows without a file are stored, and stored rows are not computed
        self.loader.load(self.series.read(row.place), row.file)

    def _shards(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        for number, start in enumerate(range(0, self.objective.n, SHARD)):
            yield number, np.arange(start, min(start + SHARD, self.objective.n))

    def _key(self, row: Row, shard: int) -> str:
        return f"losses-{row.sha256[:16]}-{shard:04d}"

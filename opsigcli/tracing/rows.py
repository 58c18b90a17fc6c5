"""Which rows a trace will have: those an existing store holds, and those still to compute."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from opsigcli.checkpoints.series import Series
from opsigcli.errors import StoreError
from opsigcli.options import TraceOptions
from opsigcli.result_records import VIRTUAL
from opsigcli.runs.optimizer_state import lr_of
from opsigcli.runs.provenance import provenance
from opsigcli.store.names import name_of
from opsigcli.store.reader import Store
from opsigcli.store.results import Results

Same = Callable[[int, int], bool]  # row of the store, place in the series -> they have the same weights


@dataclass(frozen=True)
class Row:
    """One checkpoint of the trace."""

    step: int
    file: str
    lr: float  # NaN when unknown
    stored: int | None  # its row in the existing store, or None
    place: int | None  # its place in the series, or None when the file is gone
    series: Series = field(repr=False, compare=False)
    known: str = ""  # sha256 as the store has it, where the file is gone or was written again
    stepped: bool = False  # the store has the virtual step that is asked for

    @property
    def sha256(self) -> str:
        """The sha256 of the checkpoint: what it is known by. Read from the file when it is first asked for.

        Raises:
            CheckpointError: the file cannot be read.
        """
        if self.known or self.place is None:
            return self.known
        return self.series.sha256(self.place)


def known_steps(store: Store | None, options: TraceOptions) -> Results | None:
    """The virtual steps of the store that are those asked for, or None."""
    if store is None or not options.virtual_step:
        return None
    return store.places()[VIRTUAL].get(name_of(VIRTUAL, provenance("trace", options, None)))


def plan_rows(
    series: Series, store: Store | None, options: TraceOptions, same: Same | None = None
) -> list[Row]:
    """The rows of the series and of the store together, by step.

    A checkpoint is known again by its content, so a folder that keeps only its newest files can be traced
    again and again into one store. Without a store no file is read here.

    Args:
        series: the checkpoints.
        store: that is added to; None for a new one.
        options: which say what virtual steps are asked for.
        same: whether a row of the store has the weights of a place in the series, whose file is another one; None where
            nobody looks.

    Raises:
        StoreError: the store has other weights at a step of the series: it holds another run.
    """
    known = {} if store is None else {sha: row for row, sha in enumerate(store.sha256)}
    steps = known_steps(store, options)
    rows, stepped = [], set(steps.virtual.rows if steps is not None and steps.virtual is not None else ())
    if known:
        series.hash_all()
    for place, checkpoint in enumerate(series.checkpoints):
        stored = known.pop(series.sha256(place), None) if known else None
        rate = lr_of(checkpoint)
        lr = float("nan") if rate is None else rate
        rows.append(
            Row(checkpoint.step, checkpoint.file, lr, stored, place, series, stepped=stored in stepped)
        )
    if store is not None:
        steps = store.file["steps"][()]
        rows += [
            Row(
                int(steps[old]),
                store.files[old],
                float(store.lrs[old]),
                old,
                None,
                series,
                sha,
                old in stepped,
            )
            for sha, old in known.items()
        ]
    if same is not None:
        rows = _written_again(rows, same)
    rows.sort(key=lambda row: row.step)
    for before, after in itertools.pairwise(rows):
        if before.step == after.step and store is not None:
            raise StoreError(
                f"{store.path} holds another run: at checkpoint {after.step} it has other weights than "
                f"{series.folder} ({before.file} and {after.file} differ)",
                "name another store with --store, or replace this one with --fresh",
            )
    return rows


def _written_again(rows: Sequence[Row], same: Same) -> list[Row]:
    """The rows, where the store's and the folder's at one step are one, if the weights are the same."""
    gone = {row.step: row for row in rows if row.place is None}
    taken: dict[int, Row] = {}
    for row in rows:
        old = gone.get(row.step)
        if old is None or old.stored is None or row.place is None or row.stored is not None:
            continue
        if not same(old.stored, row.place):
            break
        lr = old.lr if math.isnan(row.lr) else row.lr
        taken[row.step] = replace(old, file=row.file, lr=lr, place=row.place)
    return [taken.get(row.step, row) for row in rows if row.step not in taken or row.place is None]

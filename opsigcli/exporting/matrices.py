"""Losses and loss deltas of examples along the steps, with their ids, paths and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError
from opsigcli.exporting.table import Column, Grid, Table
from opsigcli.store.lazy_arrays import columns_of, texts_at
from opsigcli.store.reader import Store

PIECE = 1 << 20  # numbers of a column at a time


@dataclass(frozen=True)
class Chosen:
    """A part of a store."""

    store: Store  # open
    rows: slice  # of its checkpoints
    positions: NDArray[np.int64] | None  # columns of its examples, increasing; None = all

    @property
    def count(self) -> int:
        """How many examples."""
        return len(self.store.trace.example_ids) if self.positions is None else len(self.positions)

    def taken(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of values of all examples (N,), those of the examples chosen."""
        return values if self.positions is None else values[self.positions]

    def at(self, start: int, stop: int) -> slice | NDArray[np.int64]:
        """Columns of the examples from … to …."""
        return slice(start, stop) if self.positions is None else self.positions[start:stop]


def losses_table(chosen: Chosen) -> Table:
    """A row per example: id, name, label, class, and its loss at every checkpoint chosen, in nats."""
    store, rows = chosen.store, chosen.rows
    steps = store.trace.steps[rows]
    unit = store.run.axis.one.replace(" ", "_")
    names = tuple(f"{unit}_{step}" for step in steps.tolist())
    return _table(chosen, store.losses, rows, "losses", names, ("steps", steps))


def deltas_table(chosen: Chosen) -> Table:
    """A row per example, likewise with ``losses[t+1] − losses[t]`` of every pair of neighbours that begins there.

    Raises:
        StoreError: no checkpoint chosen has one after it.
    """
    store, rows = chosen.store, chosen.rows
    steps = store.trace.steps
    within = slice(rows.start, min(rows.stop, len(steps) - 1), rows.step)
    ends = np.stack([steps[:-1][within], steps[1:][within]], axis=1)
    if not len(ends):
        raise StoreError(
            f"expected a checkpoint with another one after it in {store.path}, found none",
            "loss deltas need two checkpoints: choose others with --steps",
        )
    unit = store.run.axis.one.replace(" ", "_")
    names = tuple(f"{unit}_{before}_to_{after}" for before, after in ends.tolist())
    return _table(chosen, store.loss_deltas, within, "deltas", names, ("steps", ends))


def _table(
    chosen: Chosen, data: Any, rows: slice, name: str, names: tuple[str, ...], axis: tuple[str, Any]
) -> Table:
    def read(start: int, stop: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = columns_of(data, chosen.at(start, stop), rows)
        return found

    def column(number: int) -> Iterator[NDArray[np.float32]]:
        row = range(rows.start, rows.stop, rows.step)[number]
        if chosen.positions is None:
            for start in range(0, data.shape[1], PIECE):
                yield data[row, start : start + PIECE]
        else:
            yield data[row][chosen.positions]

    return Table(chosen.count, described(chosen), Grid(name, names, axis, read, column))


def described(chosen: Chosen) -> tuple[Column, ...]:
    """Who every example is: id, name, label (its class index), and the name of its class, as far as there are any."""
    trace, classes = chosen.store.trace, chosen.store.run.classes
    ids, labels = chosen.taken(trace.example_ids), chosen.taken(trace.labels)
    found = [id_column(trace.naming.in_documents, ids)]
    if len(trace.names):

        def names(start: int, stop: int) -> list[str]:
            # Of the file that is open: by its path another one may be there meanwhile, with other examples.
            return list(texts_at(chosen.store.file["example_names"], chosen.at(start, stop)))

        found.append(Column("name", "text", names))
    if trace.naming.label:
        found.append(Column("label", "int", lambda start, stop: labels[start:stop]))
    if trace.naming.label and classes:
        found.append(Column("class", "text", lambda a, b: [_named(v, classes) for v in labels[a:b].tolist()]))
    return tuple(found)


def id_column(in_documents: bool, ids: NDArray[np.int64]) -> Column:
    """Ids as numbers, or of tokens as ``document:token``."""
    if not in_documents:
        return Column("id", "int", lambda start, stop: ids[start:stop])
    from opsigcli.token_ids import id_text

    return Column("id", "text", lambda a, b: [id_text(example, True) for example in ids[a:b].tolist()])


def _named(label: int, classes: tuple[str, ...]) -> str:
    return classes[label] if 0 <= label < len(classes) else ""

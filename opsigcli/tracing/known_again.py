"""Rows whose files were written again since they were traced: known by the losses of their weights."""

from __future__ import annotations

from collections.abc import Callable

from opsigcli.checkpoints.series import Series
from opsigcli.options import TraceOptions
from opsigcli.runs.written_again import same_losses
from opsigcli.store.reader import Store
from opsigcli.tracing.rows import Row, plan_rows
from opsigcli.tracing.worker import Worker


def known_again(
    series: Series, store: Store | None, options: TraceOptions, make: Callable[[Series, Store | None], Worker]
) -> tuple[list[Row], list[str]]:
    """The rows of a trace, and the files among them that have other bytes than were traced, and the same weights.

    Args:
        series: the checkpoints.
        store: that is added to; None for a new one.
        options: the command's.
        make: the worker, which is asked for only where bytes differ.

    Raises:
        CheckpointError: a file cannot be read.
        ModelError: its weights do not fit.
        StoreError: the store has other weights at a step of the series: it holds another run.
    """
    again: list[str] = []

    def same(stored: int, place: int) -> bool:
        assert store is not None
        if store.run.precision != "float32":
            return False
        worker, file = make(series, store), series.checkpoints[place].file
        worker.loader.load(series.read(place), file)
        if not same_losses(worker.evaluator.objective, store.losses_at(stored)):
            return False
        again.append(file)
        return True

    return plan_rows(series, store, options, same), again

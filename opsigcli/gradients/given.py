"""The losses of a store, as mining is given them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.mining.inputs import UNSEEN, Trace

if TYPE_CHECKING:
    from opsigcli.store.reader import Store


def given_trace(store: Store) -> Trace:
    """Losses and what is known of their examples; the losses stay in the file."""
    trace, run = store.trace, store.run
    return Trace(
        store.losses,
        trace.labels,
        trace.example_ids,
        trace.steps,
        run.classes,
        store.loss_deltas,
        trace.measured,
        trace.weights,
        *(store.seen or ({}, UNSEEN)),
        run.loss,
        trace.axis,
        trace.naming,
    )

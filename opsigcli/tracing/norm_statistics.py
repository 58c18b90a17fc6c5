"""Which statistics the BatchNorms of a trace use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.runs.stored_statistics import kept_apart, moved_none, staying
from opsigcli.tracing import same_trace
from opsigcli.tracing.batch_norm_gap import normalised

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series
    from opsigcli.objective.base import Objective
    from opsigcli.options import TraceOptions
    from opsigcli.runs.load_weights import Loader
    from opsigcli.store.reader import Store


def statistics_of(
    objective: Objective, loader: Loader, series: Series, store: Store | None, options: TraceOptions
) -> str:
    """Those of the store's rows; for a new store those of the data, or the stored ones where training left them alone.

    That training froze some BatchNorms and not others, so that neither fits, is added to the notes of the objective.

    Returns:
        "batch", "stored" …; "" where the model has no BatchNorm.

    Raises:
        StoreError: others than those of the store were asked for.
    """
    if not normalised(objective.model):
        return ""
    asked, before = options.batch_norm, None if store is None else store.run.batch_norm or "stored"
    if before is not None:
        same_trace.require_same_statistics(options.store, before, asked)
    if (asked or before) == "stored":
        return "stored"
    stay = staying(loader, series)
    mode = asked or before or ("stored" if moved_none(stay) else "batch")
    if mode != "stored" and (apart := kept_apart(stay)):
        objective.notes.append(apart)
    return mode

"""What a trace would compute, without computing it."""

from __future__ import annotations

import contextlib

from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.series import Series
from opsigcli.examples import ExampleSource
from opsigcli.options import TraceOptions
from opsigcli.outcome import Outcome
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.records import Run
from opsigcli.runs.cost import plan_lines, seconds_of_losses
from opsigcli.runs.look import look
from opsigcli.store.reader import open_store
from opsigcli.tracing.rows import plan_rows


def plan_trace(
    options: TraceOptions,
    series: Series,
    run: Run,
    source: ExampleSource,
    warnings: list[str],
    progress: Progress,
) -> Outcome:
    """What ``opsig trace`` would compute, and what a sample of the data says of the run.

    Raises:
        StoreError: the store holds another run.
        ModelError: the model cannot be built, or weights do not fit it.
        ObjectiveError: the loss does not fit, or is not finite.
        CheckpointError: the first or the last checkpoint cannot be read.
    """
    from opsigcli.objective.evaluate import LARGEST_SHARD

    with contextlib.ExitStack() as stack:
        known = options.store.exists() and not options.fresh
        store = stack.enter_context(open_store(options.store)) if known else None
        again: list[str] = []

        def same(_: int, place: int) -> bool:
            again.append(series.checkpoints[place].file)
            return True

        rows = plan_rows(series, store, options, same)
        before = store.run if store is not None else None
    if again:
        warnings.append(
            f"{some(again)} have other bytes than were traced: a trace goes on where their losses are the same, and is "
            "refused where they are others"
        )
    todo = [row for row in rows if row.stored is None]
    n = len(source)
    shards = -(-n // LARGEST_SHARD)
    read = sum(series.checkpoints[row.place].size for row in todo if row.place is not None)
    seen = look(series, source, run, progress)
    statistics = options.batch_norm or (before.batch_norm or "stored" if before else "batch")
    each = seconds_of_losses(run, source, options.device, options.batch_size, options.precision, statistics)
    result = {
        "dry_run": True,
        "checkpoints": [
            {"file": row.file, "step": row.step, "status": "todo" if row.stored is None else "kept"}
            for row in rows
        ],
        "unit": series.unit,
        "examples": n,
        "units": len(todo) * shards,
        "forward_passes": len(todo) * n,
        "bytes_to_read": read,
        "bytes_to_write": 8 * len(rows) * n,  # losses and loss deltas, float32
        "estimated_seconds": len(todo) * each if todo else 0.0,
        "look": seen,
    }
    return Outcome(
        schema="opsig/plan",
        inputs={"checkpoints": str(options.checkpoints), "run": run},
        result=result,
        warnings=(*warnings, *seen.fits, *seen.warnings),
        messages=seen.messages,
        view=plan_lines(
            result, f"trace {len(todo)} of {len(rows)} checkpoints on {count(n, 'example')}", options.store
        ),
    )

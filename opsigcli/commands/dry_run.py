"""``--dry-run``: what a command would do, in units of work, bytes and seconds. Nothing is written."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from opsigcli.checkpoints import digest
from opsigcli.checkpoints.series import Series
from opsigcli.curvature.critical_rate import MOST_PASSES
from opsigcli.examples import ExampleSource
from opsigcli.options import SharpnessOptions, TraceOptions
from opsigcli.outcome import Outcome
from opsigcli.records import Run
from opsigcli.runs.build_objective import build_module
from opsigcli.runs.device import pick_device
from opsigcli.runs.run_specs import trusted_run
from opsigcli.store.reader import Store, open_store
from opsigcli.tracing.rows import plan_rows

LAUNCH = 2e-5  # seconds that a layer of a batch takes, however small it is
GRADIENT_PASSES = 3  # a gradient, likewise
HVP_PASSES = 6  # a Hessian-vector product costs about this many forward passes
BATCH = 256  # examples of a forward pass, where the command would find a number that suits the machine
_SECONDS = 0.1  # spent on finding out how fast this machine multiplies


def plan_trace(
    options: TraceOptions, series: Series, run: Run, source: ExampleSource, warnings: list[str]
) -> Outcome:
    """What ``opsig trace`` would compute.

    Raises:
        StoreError: the store holds another run.
        ModelError: the model cannot be built.
    """
    from opsigcli.objective.evaluate import LARGEST_SHARD

    with contextlib.ExitStack() as stack:
        known = options.store.exists() and not options.fresh
        store = stack.enter_context(open_store(options.store)) if known else None
        rows = plan_rows(series, store)
    todo = [row for row in rows if row.stored is None]
    n = len(source)
    shards = -(-n // LARGEST_SHARD)
    read = sum(series.checkpoints[row.place].size for row in todo if row.place is not None)
    seconds = _seconds(run, source, len(todo) * n, options.device, options.batch_size or BATCH)
    result = {
        "dry_run": True,
        "checkpoints": [
            {"file": row.file, "step": row.step, "status": "todo" if row.stored is None else "kept"}
            for row in rows
        ],
        "examples": n,
        "units": len(todo) * shards,
        "forward_passes": len(todo) * n,
        "bytes_to_read": read,
        "bytes_to_write": 8 * len(rows) * n,  # losses and loss deltas, float32
        "estimated_seconds": seconds,
    }
    return Outcome(
        schema="opsig/plan",
        inputs={"checkpoints": str(options.checkpoints), "run": run},
        result=result,
        warnings=tuple(warnings),
        view=_lines(result, f"trace {len(todo)} of {len(rows)} checkpoints on {n} examples", options.store),
    )


def plan_sharpness(options: SharpnessOptions, rows: list[int], store: Store) -> Outcome:
    """What ``opsig sharpness`` would compute, at most: solvers stop when they have converged.

    Args:
        options: of the command.
        rows: of the trace, still to be measured.
        store: holds the trace.

    Raises:
        TrustError: the store names code and this user did not write it.
    """
    from opsigcli.datasets import open_source

    run, files = trusted_run(store, options), store.files
    source = open_source(run.data)
    n = options.examples or len(source)
    products = len(rows) * options.max_matvecs
    paths = [Path(run.checkpoints) / files[row] for row in rows]
    seconds = _seconds(run, source, products * n * HVP_PASSES, options.device, options.batch_size)
    result = {
        "dry_run": True,
        "checkpoints": [{"file": files[row], "status": "todo"} for row in rows],
        "examples": n,
        "units": len(rows),
        "hessian_vector_products": products,
        "bytes_to_read": sum(digest.size(path) for path in paths if path.exists()),
        "bytes_to_write": 1024 * len(rows),
        "estimated_seconds": seconds,
    }
    return Outcome(
        schema="opsig/plan",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        view=_lines(result, f"measure {len(rows)} checkpoints, at most {products} HVPs", options.store),
    )


def plan_quick(options: SharpnessOptions, rows: list[int], store: Store) -> Outcome:
    """What ``opsig sharpness --quick`` would compute, at most.

    Args:
        options: of the command.
        rows: of the trace, still to be measured.
        store: holds the trace.

    Raises:
        TrustError: the store names code and this user did not write it.
    """
    from opsigcli.datasets import open_source

    run, files = trusted_run(store, options), store.files
    source = open_source(run.data)
    n = options.examples or len(source)
    passes = len(rows) * (MOST_PASSES + GRADIENT_PASSES) * n
    paths = [Path(run.checkpoints) / files[row] for row in rows]
    result = {
        "dry_run": True,
        "checkpoints": [{"file": files[row], "status": "todo"} for row in rows],
        "examples": n,
        "units": len(rows),
        "forward_passes": passes,
        "bytes_to_read": 2 * sum(digest.size(path) for path in paths if path.exists()),
        "bytes_to_write": 512 * len(rows),
        "estimated_seconds": _seconds(run, source, passes, options.device, options.batch_size),
    }
    return Outcome(
        schema="opsig/plan",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        view=_lines(
            result,
            f"measure {len(rows)} checkpoints, at most {MOST_PASSES} forward passes each",
            options.store,
        ),
    )


def _lines(result: dict[str, Any], what: str, store: Path) -> tuple[str, ...]:
    seconds = result["estimated_seconds"]
    duration = "time not known" if seconds is None else f"{_duration(seconds)} (from operation counts)"
    return (
        f"dry run: {what}",
        f"{result['units']} units of work; reads {_bytes(result['bytes_to_read'])}, "
        f"writes about {_bytes(result['bytes_to_write'])} to {store}; {duration}",
        "nothing was computed and nothing was written",
    )


def _seconds(run: Run, source: ExampleSource, passes: int, device: str, batch_size: int) -> float | None:
    """Time of forward passes of one example each: operations counted on the meta device, over this machine's rate."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.device("meta"):
            model = build_module(run.model, source).eval()
            inputs = torch.empty(1, *source.input_shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.to("meta")(inputs)
    except Exception:  # whatever a model that needs values raises: then the time is not known
        return None
    calls = passes / batch_size * len(list(model.modules())) * LAUNCH
    return passes * int(counter.get_total_flops()) / _rate(device) + calls


def _rate(device: str) -> float:
    """Operations per second of this machine in float32, by a product of matrices."""
    import torch

    place = pick_device(device)
    matrix = torch.ones(512, 512, device=place)
    done, begin = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - begin < _SECONDS:
        float((matrix @ matrix)[0, 0])
        done += 1
    return done * 2 * 512**3 / (time.perf_counter() - begin)


def _duration(seconds: float) -> str:
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            return f"about {seconds / unit:.1f} {word}" if seconds >= 0.1 else "less than 0.1 s"
    return ""


def _bytes(count: int) -> str:
    size = float(count)
    for word in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {word}"
        size /= 1000
    return f"{size:.3g} TB"

"""What a measurement of sharpness would compute, without computing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opsigcli.checkpoints import digest
from opsigcli.curvature.critical_rate import MOST_PASSES
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome
from opsigcli.printable import count
from opsigcli.runs.cost import plan_lines, seconds_of_gradient
from opsigcli.runs.run_specs import trusted_run
from opsigcli.store.reader import Store

GRADIENT_PASSES = 3  # a gradient costs about this many forward passes
HVP_GRADIENTS = 2  # a Hessian-vector product costs about this many gradients
MATVECS = 30  # of a checkpoint whose largest eigenvalue converges, where the store has none to tell from


def plan_sharpness(options: SharpnessOptions, rows: list[int], store: Store) -> Outcome:
    """What ``opsig sharpness`` would compute, at most: solvers stop when they have converged.

    With ``--quick``, the forward passes and the gradient of each checkpoint, which is read beside the one after it.

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
    paths = [Path(run.checkpoints) / files[row] for row in rows]
    read = sum(digest.size(path) for path in paths if path.exists())
    what: dict[str, Any]
    if options.quick:
        passes, read, write = len(rows) * (MOST_PASSES + GRADIENT_PASSES) * n, 2 * read, 512
        gradients = passes / GRADIENT_PASSES
        what, words = {"forward_passes": passes}, f"at most {MOST_PASSES} forward passes each"
    else:
        products, write = len(rows) * options.max_matvecs, 1024
        usual = min(_usual(store) or MATVECS * options.top, options.max_matvecs)
        gradients = len(rows) * usual * n * HVP_GRADIENTS
        what, words = (
            {"hessian_vector_products": products},
            f"about {len(rows) * usual} HVPs, at most {products}",
        )
    result = {
        "dry_run": True,
        "checkpoints": [{"file": files[row], "status": "todo"} for row in rows],
        "examples": n,
        "units": len(rows),
        **what,
        "bytes_to_read": read,
        "bytes_to_write": write * len(rows),
        "estimated_seconds": gradients * seconds_of_gradient(run, source, options.device, options.batch_size)
        if rows
        else 0.0,
    }
    return Outcome(
        schema="opsig/plan",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        view=plan_lines(result, f"measure {count(len(rows), 'checkpoint')}, {words}", options.store),
    )


def _usual(store: Store) -> int:
    """HVPs that a measured checkpoint of this run took, in the median; 0 where none was measured."""
    spent = sorted(point.matvecs for point in store.sharpness)
    return spent[len(spent) // 2] if spent else 0

"""Whether the learning rates in checkpoints are those of the steps that lead to them, and not of those that follow.

``optimizer.step()``, save, ``scheduler.step()`` is a usual order: a checkpoint has the rate that its weights were
reached with, and the step from it was made at the rate of the next checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from opsigcli.errors import CheckpointError, ModelError
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuned_run import TunedRun, changed_later
from opsigcli.sharpness_records import CONFIRMED, CONTRADICTED
from opsigcli.stability.step_check import StepChecker

LOOKED = 8  # steps whose rates are read where the trace has none
CHECKS = 2  # steps that have to say so, where there are so many: one may have another cause


def settle_rates(run: StoredRun, tuned: TunedRun, checker: StepChecker) -> bool:
    """Have each checkpoint judged by the rate of the next one where steps say so; leaves other weights loaded.

    Steps are looked at over which the rate changes most, and none where it changes over no single step: one whose
    own rate the weights contradict, and whose next checkpoint's they confirm, and a second one. Checkpoints several
    steps from the next, which has another rate, are noted (``TunedRun.changing``), or looked at where the trace has no
    rates (``TunedRun.looked``), as of several optimizers.

    Args:
        run: the run, opened.
        tuned: what trains at its checkpoints.
        checker: of its steps.

    Returns:
        Whether they do.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        ModelError: its weights do not fit.
    """
    near = frozenset(
        row
        for row in range(len(run.steps) - 1)
        if run.run.axis.one_update(run.steps[row], run.steps[row + 1])
    )
    if not tuned.optimizer.rate_given:
        far = [row for row in range(len(run.steps) - 1) if row not in near]
        tuned.changing = {row: note for row in far if (note := changed_later(run.lrs[row], run.lrs[row + 1]))}
        tuned.looked = frozenset(row for row in far if np.isnan(run.lrs[row : row + 2]).all())
    rows = _changing(_rates(run, tuned, near), near)[:CHECKS]

    def verdict(row: int, late: frozenset[int] | None) -> str:
        tuned.late = late
        tuning = tuned.at(row, with_state=True)
        tuned.train(tuning.parameters or tuned.trainable)
        run.load(row)
        return checker.check(row, lambda at: tuned.at(at, with_state=True)).verdict

    trained = tuned.trained
    says = bool(rows) and all(
        verdict(row, None) == CONTRADICTED and verdict(row, near) == CONFIRMED for row in rows
    )
    tuned.late = near if says else None
    tuned.train(trained)
    return says


def _rates(run: StoredRun, tuned: TunedRun, near: Collection[int]) -> Sequence[float]:
    """Learning rates at the checkpoints, NaN where not known; where the trace has none, at some as they are read."""
    if not near or tuned.optimizer.rate_given or not np.isnan(run.lrs).all():
        return run.lrs
    rates = list(run.lrs)
    some = sorted(near)[:: -(-len(near) // LOOKED)]
    try:
        for at in sorted({*some, *(row + 1 for row in some)}):
            if (rate := tuned.at(at).lr) is None:
                return run.lrs
            rates[at] = rate
    except (CheckpointError, ModelError):
        return run.lrs
    return rates


def _changing(rates: Sequence[float], near: Collection[int]) -> list[int]:
    """Rows with a checkpoint one update on that has another learning rate, those first where it changes most."""
    with np.errstate(all="ignore"):
        changes = np.abs(np.diff(np.log(np.asarray(rates, dtype=np.float64))))
    return [
        int(row)
        for row in np.argsort(-np.nan_to_num(changes, nan=0.0, posinf=0.0), kind="stable")
        if row in near and 0 < changes[row] < np.inf
    ]

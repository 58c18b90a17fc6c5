"""Whether the weights of a run contradict the rule that a command is about to train by."""

from __future__ import annotations

from collections.abc import Sequence

from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuned_run import TunedRun
from opsigcli.sharpness_records import CONTRADICTED
from opsigcli.stability.step_check import StepChecker

CHECKS = 3  # of a run are enough to see a rule that is not its own


def contradiction(run: StoredRun, optimizer: RunOptimizer, rows: Sequence[int], seed: int) -> str:
    """What speaks against the rule at the first of some steps that does, with the step; "" where nothing does.

    Args:
        run: the run, opened.
        optimizer: that is assumed.
        rows: of the trace, of which a few with a next step are looked at.
        seed: of random batches.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        ModelError: its weights do not fit.
    """
    checker, tuned = StepChecker(run, optimizer, None, seed), TunedRun(run, optimizer)
    near = [row for row in rows if row + 1 < len(run.steps) and run.steps[row + 1] == run.steps[row] + 1]
    for row in near[:: max(len(near) // CHECKS, 1)][:CHECKS]:
        tuning = tuned.at(row, with_state=True)
        tuned.train(tuning.parameters or tuned.trainable)
        run.load(row)
        found = checker.check(row, lambda at: tuned.at(at, with_state=True))
        if found.verdict == CONTRADICTED:
            tuned.train(tuned.trainable)
            return f"step {run.steps[row]:,}: {found.reason}"
    tuned.train(tuned.trainable)
    return ""

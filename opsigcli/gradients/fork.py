"""The rule by which ``opsig mine --causal`` trains on from a checkpoint: the run's own, as it was there."""

from __future__ import annotations

from opsigcli.errors import UsageError
from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuned_run import TunedRun
from opsigcli.runs.tuning import Tuning


def optimizer_of_run(run: StoredRun) -> RunOptimizer:
    """The run's own optimizer, as checkpoints and manifest have it."""
    return RunOptimizer(run.run, None, {}, None, run.lrs)


def fork(run: StoredRun, row: int) -> Tuning:
    """Rules, hyper-parameters and parameters that train at checkpoint ``row`` of the trace, which is loaded then.

    Raises:
        UsageError: the rule is not known, its steps cannot be taken, or the learning rate is 0.
        CheckpointError: the checkpoint cannot be read.
        ModelError: its weights do not fit.
    """
    found = TunedRun(run, optimizer_of_run(run)).at(row)
    why = found.reason.partition(": ")[2] or found.reason
    if name := next((part.name for part in found.parts if part.rule.make is None), ""):
        why = f"opsig takes no steps of {name}"
    elif found.parts and not any(part.hyper["lr"] > 0 for part in found.parts):
        why = "the learning rate there is 0, with which nothing is trained"
    if why:
        raise UsageError(
            f"--causal trains on from step {run.steps[row]:,} ({run.files[row]}) as the run did: {why}",
            "leave out --causal; or write optimizer and learning rate into the folder's opsig-run.toml and trace again",
        )
    return found

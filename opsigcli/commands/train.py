"""``opsig train``: a reference run, with a checkpoint every few steps and a manifest beside them."""

from __future__ import annotations

import time
from pathlib import Path

from opsigcli.command_line import next_command
from opsigcli.commands.trace import trace
from opsigcli.errors import ExitCode, Interrupted
from opsigcli.options import TraceOptions, TrainOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import GIVEN, require_use
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.runs.training_plan import plan_training, size_words
from opsigcli.runs.training_run import TrainingRun


def train(options: TrainOptions, progress: Progress) -> Outcome:
    """Train, or resume training, the run in ``options.directory``.

    Raises:
        UsageError: the directory holds a run made with other options, or an option has no part in this one.
        OpsigError: model or data cannot be opened, or a checkpoint cannot be written.
        StoreError: the store of --record-losses holds another run, or cannot be written.
        Interrupted: a signal arrived; the checkpoints so far are kept.
    """
    if options.downweight is None:
        require_use(options, ("weight",), "--downweight", "add --downweight FILE")
    run = TrainingRun(options)
    options = run.options  # of a fork those of its parent, where none was given
    if options.dry_run:
        return plan_training(run)
    start, stopped, diverged = run.trainer.step, None, False
    begin = time.monotonic()
    try:
        with progress.task(f"train{size_words(run)}", options.steps, "step") as task:
            diverged = run.train(task)
    except KeyboardInterrupt as signal:
        stopped = signal
    finally:
        run.write_manifest()
    step, kept = run.trainer.step, count(len(run.rows), "checkpoint")
    if stopped is not None:
        raise Interrupted(
            stopped,
            f"interrupted at step {step}, with {kept} kept in {options.directory}",
        )
    seconds = time.monotonic() - begin
    final = run.trainer.objective.mean_loss()
    result = {
        "directory": str(options.directory),
        "checkpoints": len(run.rows),
        "steps": step,
        "resumed_at": start,
        "mean_loss": final,
        "diverged": diverged,
        "steps_per_second": (step - start) / seconds if step > start else None,
    }
    warnings = (f"the loss is no longer finite at step {step}: training stopped there",) if diverged else ()
    traced = _write_store(run, progress)
    result["store"] = None if traced is None else str(options.store)
    done = f"{kept} in {options.directory}, step {step}, mean loss {final:.4f}"
    return Outcome(
        schema="opsig/train",
        inputs={
            "options": {
                k.rstrip("_"): str(v) if isinstance(v, Path) else v
                for k, v in vars(options).items()
                if k != GIVEN
            }
        },
        result=result,
        warnings=warnings + (() if traced is None else traced.warnings),
        messages=(
            done,
            *((next_command("trace", options.directory),) if traced is None else traced.messages),
        ),
        exit_code=ExitCode.OK if traced is None else traced.exit_code,
    )


def _write_store(run: TrainingRun, progress: Progress) -> Outcome | None:
    """The trace of a run that recorded its losses; None of one that did not.

    Raises:
        OpsigError: as ``trace``; what was recorded is kept.
    """
    if run.recorded is None:
        return None
    options = run.options
    asked = TraceOptions(
        options.directory,
        store=options.store,
        device=options.device,
        trust_manifest=options.trust_manifest,
        fresh=options.fresh,
    )
    found = trace(asked, progress)
    run.recorded.clear()
    return found

"""What a run of ``opsig train`` takes: updates, bytes, and seconds from the time of real ones."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from opsigcli.checkpoints.writer import save_weights
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.outcome import Outcome
from opsigcli.runs.cost import bytes_in_words, plan_lines, timed
from opsigcli.runs.fork import memory

if TYPE_CHECKING:
    from opsigcli.optimizers.base import Optimizer
    from opsigcli.runs.training_run import TrainingRun

LARGE = 1_000_000_000  # bytes, from which a run says so before it begins


class Sizes(NamedTuple):
    """What is left to write of a run, in bytes."""

    checkpoints: int  # how many
    weights: int
    states: int
    losses: int  # to the store

    @property
    def whole(self) -> int:
        """All of it."""
        return self.weights + self.states + self.losses


def sizes(run: TrainingRun) -> Sizes:
    """What the run still writes: its checkpoints × (weights + state), and 8 bytes for each loss and loss delta."""
    options, trainer = run.options, run.trainer
    last = options.steps > trainer.step and options.steps not in run.saved
    rule: Optimizer = OPTIMIZERS.load(run.manifest.optimizer)
    count = (
        max(run.saved.count(trainer.step, options.steps), 0) + last + (not run.rows)
    )  # it may be past the end
    weights = sum(t.numel() * t.element_size() for t in trainer.objective.model.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in trainer.objective.parameters)
    state = parameters * sum(n for n in memory(rule, run.manifest.hyper).values() if n > 1) // 4
    states = (
        min(count, 1) if options.save_optimizer == "last" else count - (not run.rows)
    )  # the start has none
    kept = count + len(run.rows) if options.record_losses else 0
    return Sizes(count, count * weights, states * state, kept * 8 * len(trainer.objective.source))


def size_words(run: TrainingRun) -> str:
    """``: writes about 1.4 GB`` of a large run; "" of any other."""
    found = sizes(run).whole
    return f": writes about {bytes_in_words(found)}" if found > LARGE else ""


def plan_training(run: TrainingRun) -> Outcome:
    """What ``opsig train`` would do, from its start: some updates are made, and one checkpoint is saved and removed."""
    options, trainer = run.options, run.trainer
    found, updates = sizes(run), max(options.steps - trainer.step, 0)
    with TemporaryDirectory() as folder:
        saving = timed(lambda: save_weights(Path(folder) / "weights", trainer.weights(), {}))
    seconds = updates * timed(trainer.update) + found.checkpoints * saving
    result = {
        "dry_run": True,
        "examples": len(trainer.objective.source),
        "units": updates,
        "bytes_to_read": 0,
        "bytes_to_write": found.whole,
        "bytes_of_losses": found.losses,
        "estimated_seconds": seconds,
    }
    what = f"make {updates} updates and save {found.checkpoints} checkpoints"
    losses = f", losses {bytes_in_words(found.losses)} of it to {options.store}" if found.losses else ""
    return Outcome(
        schema="opsig/plan",
        inputs={"options": {"directory": str(options.directory)}},
        result=result,
        view=plan_lines(result, what + losses, options.directory),
    )

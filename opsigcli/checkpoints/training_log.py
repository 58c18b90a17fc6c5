"""The training loss that a run logged, where a log lies beside its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.checkpoints.logs.columns import CALLS, EPOCHS, STEPS, Columns, read_columns
from opsigcli.checkpoints.logs.loss_name import training_loss
from opsigcli.checkpoints.logs.places import Files, places

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

NAMED = 5  # logs that are not read, and are named
APART = 2.0  # times as far as the checkpoints may steps go that are in doubt


@dataclass(frozen=True)
class TrainingLog:
    """Training losses by step, as the run wrote them: of minibatches, augmented, with dropout and the like."""

    path: Path
    steps: Ints  # (K,) in the unit of the checkpoints, increasing
    losses: Floats  # (K,) nats
    column: str = ""  # the name it has in the log


def find_log(folder: Path, steps: Sequence[int], unit: str) -> tuple[TrainingLog | None, tuple[str, ...]]:
    """The log of the run whose checkpoints are in ``folder``, and what looks like one and is not read, with the reason.

    Where two columns may be the training loss, or two runs left their logs, none is taken.

    Args:
        folder: of the checkpoints.
        steps: of the checkpoints.
        unit: of these steps.
    """
    refused: list[str] = []
    for level in places(folder):
        found: list[TrainingLog] = []
        for files in level:
            log = _log(files, steps, unit)
            if isinstance(log, TrainingLog):
                found.append(log)
            elif log:
                refused.append(f"{_shown(files, folder)}: {log}")
        if len(found) == 1:
            return found[0], ()
        if found:
            listed = ", ".join(log.path.name for log in found[:NAMED])
            refused.append(
                f"{len(found)} logs have a training loss, and none says which run's it is ({listed}): leave only that "
                "of this run beside the checkpoints"
            )
            break
    return None, tuple(refused[:NAMED])


def _log(files: Files, steps: Sequence[int], unit: str) -> TrainingLog | str:
    """The training loss in a log; or why none is taken from it, "" where it does not look like one."""
    import numpy as np

    path = files[-1][0]
    columns = read_columns(files)
    any_table = path.suffix in (".csv", ".jsonl")  # which may be of anything
    axis, doubtful = _axis(columns, path, unit)
    if not axis:
        if any(columns.losses.values()):
            return f"it has losses, and no step in {unit or 'the unit'}s as the checkpoints have"
        return "" if any_table else columns.problem or ("it has no loss" if columns.rows else "")
    column, reason = training_loss(columns.losses[axis])
    if not column:
        return reason and f"{reason}: write a CSV with the columns step and train_loss beside the checkpoints"
    points = columns.losses[axis][column]
    order = sorted(points)
    last = max(steps)
    if APART * order[-1] < last or (doubtful and order[-1] > APART * max(last, 1)):
        return (
            f"its last {axis} is {order[-1]:,}, and the last checkpoint's {unit} {last:,}: "
            "the two may count other things"
        )
    return TrainingLog(path, np.array(order, dtype=np.int64), np.array([points[at] for at in order]), column)


def _axis(columns: Columns, path: Path, unit: str) -> tuple[str, bool]:
    """The column of steps in the unit of the checkpoints, and whether it may count something else."""
    if unit == "step":
        axis = columns.axis((*STEPS, CALLS))
        return axis, axis == CALLS
    if unit == "epoch":
        axis = columns.axis(EPOCHS)
        if not axis and "tfevents" in path.name:  # what is called step there is any number
            return columns.axis(STEPS), True
        return axis, False
    return "", True


def _shown(files: Files, folder: Path) -> str:
    path = files[-1][0]
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name

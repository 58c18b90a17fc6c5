"""The rows of a log as columns of losses over steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.logs import Row, reader_of
from opsigcli.checkpoints.logs.broken import BrokenLog
from opsigcli.checkpoints.logs.loss_name import may_be_loss

Points = dict[int, float]  # step -> loss

STEPS = ("global_step", "trainer/global_step", "train/global_step", "step", "iteration", "iter")
CALLS = "_step"  # of wandb.log, where no step was given
EPOCHS = ("epoch", "train/epoch", "epochs")


@dataclass
class Columns:
    """What a log says of losses."""

    losses: dict[str, dict[str, Points]] = field(default_factory=dict)  # name of steps -> of losses -> points
    problem: str = ""  # where reading ended early
    rows: int = 0

    def axis(self, names: Sequence[str]) -> str:
        """The first of some names of steps by which there are losses; "" where there is none."""
        return next((name for name in names if self.losses.get(name)), "")


def read_columns(files: Iterable[tuple[Path, str]]) -> Columns:
    """The losses in the files of one log.

    Args:
        files: in the order in which they were written, each with what goes before its names. What a later row says of
            a step counts: a run that was continued writes some steps again.
    """
    found = Columns()
    for path, prefix in files:
        reader = reader_of(path)
        try:
            for row in reader(path) if reader is not None else ():
                found.rows += 1
                _add(found.losses, row, prefix)
        except (BrokenLog, OSError) as error:
            found.problem = str(error)
    return found


def _add(losses: dict[str, dict[str, Points]], row: Row, prefix: str) -> None:
    values = {
        prefix + name: number
        for name, value in row.items()
        if isinstance(name, str) and may_be_loss(prefix + name) and (number := _number(value)) is not None
    }
    if not values:
        return
    named = {name.strip().lower(): value for name, value in row.items() if isinstance(name, str)}
    for axis in (*STEPS, CALLS, *EPOCHS):
        step = _number(named.get(axis))
        if step is not None and step == int(step) and 0 <= step < 2**53:
            columns = losses.setdefault(axis, {})
            for name, value in values.items():
                columns.setdefault(name, {})[int(step)] = value


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None

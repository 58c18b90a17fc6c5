"""The training loss that a run logged, where a log lies beside its checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.names import natural

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

LARGEST = 64 << 20  # bytes of a log that are read
STEPS = ("global_step", "step", "iteration", "iter")  # columns, the first that is there
LOSSES = ("loss", "train_loss", "train/loss", "training_loss", "train_loss_step", "loss/train", "loss_train")


@dataclass(frozen=True)
class TrainingLog:
    """Training losses by step, as the run wrote them: of minibatches, augmented, with dropout and the like."""

    path: Path
    steps: Ints  # (K,) optimizer updates made, increasing
    losses: Floats  # (K,) nats


def find_log(folder: Path) -> TrainingLog | None:
    """The log of the run whose checkpoints are in ``folder``; None where there is none that can be read.

    Looked at, in this order: ``trainer_state.json`` of the last checkpoint folder (Hugging Face), then ``*.csv`` and
    ``*.jsonl`` in the folder and the one above it (Lightning's ``metrics.csv``) that have a column of steps and one of
    training losses. Files of other kinds, and logs that name no training loss, are passed over.
    """
    states = sorted(folder.glob("*/trainer_state.json"), key=lambda path: natural(path.parent.name))
    places = [*reversed(states), folder / "trainer_state.json"]
    for around in (folder, folder.resolve().parent):
        places += sorted(path for pattern in ("*.csv", "*.jsonl") for path in around.glob(pattern))
    for path in places:
        found = _read(path)
        if found is not None:
            return found
    return None


def _read(path: Path) -> TrainingLog | None:
    import numpy as np

    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        text = path.read_text(encoding="utf-8")
        rows = _rows(path, text)
    except (OSError, ValueError, csv.Error, RecursionError):
        return None
    known = dict(found for row in rows if (found := _entry(row)) is not None)
    if not known:
        return None
    steps = sorted(known)
    return TrainingLog(path, np.array(steps, dtype=np.int64), np.array([known[step] for step in steps]))


def _rows(path: Path, text: str) -> Iterable[Any]:
    if path.suffix == ".csv":
        return csv.DictReader(io.StringIO(text))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    state = json.loads(text)
    found = state.get("log_history", []) if isinstance(state, dict) else []
    return found if isinstance(found, list) else []


def _entry(row: Any) -> tuple[int, float] | None:
    """Step and training loss of one line; None where it lacks either."""
    if not isinstance(row, Mapping):
        return None
    step = next((number for name in STEPS if (number := _number(row.get(name))) is not None), None)
    loss = next((number for name in LOSSES if (number := _number(row.get(name))) is not None), None)
    if step is None or loss is None or step != int(step) or not 0 <= step < 2**53:
        return None
    return int(step), loss


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None

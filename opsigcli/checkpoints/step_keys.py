"""What the entries of a checkpoint's content or sidecar mean: steps, epochs, learning rates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsigcli.files import read_file

# Names under which training scripts keep optimizer updates made, most telling first.
STEP_KEYS = ("global_step", "step", "iter_num", "iteration", "iter", "num_updates", "train_step")
EPOCH_KEYS = ("epoch", "epochs_run", "current_epoch")
LR_KEYS = ("lr", "learning_rate")
RATE_OF = "its learning rate is the one logged at step"  # beginning of a note
_SIDECARS = ("trainer_state.json", "train_state.json")
LARGEST_STEP = 1 << 53  # a larger number is a hash, a time in nanoseconds, or no number that a float can hold
_MAX_SIDECAR = 64 * 2**20  # bytes


def whole(value: Any) -> int | None:
    """``value`` as a count: a whole number from 0 on, given as int, float or text; None for anything else."""
    number = real(value)
    if number is None or not 0 <= number <= LARGEST_STEP or number != int(number):
        return None
    return int(number)


def real(value: Any) -> float | None:
    """``value`` as a finite number, given as int, float or text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def content_counts(entries: Mapping[Any, Any]) -> dict[str, int]:
    """Unit to number, as the entries of a mapping state them."""
    found: dict[str, int] = {}
    for unit, keys in (("step", STEP_KEYS), ("epoch", EPOCH_KEYS)):
        numbers = (whole(entries.get(key)) for key in keys)
        number = next((n for n in numbers if n is not None), None)
        if number is not None:
            found[unit] = number
    return found


def content_lr(entries: Mapping[Any, Any]) -> float | None:
    """The learning rate that the entries of a mapping state, if any."""
    return next((lr for key in LR_KEYS if (lr := real(entries.get(key))) is not None), None)


def sidecar(path: Path, *, alone: bool) -> dict[str, Any]:
    """The entries of the JSON file that belongs to a checkpoint; empty where there is none to read.

    ``model_7.json`` belongs to ``model_7.safetensors``; a ``trainer_state.json`` belongs to the only weights
    file of its folder (``alone``).
    """
    names = [path.with_suffix(".json"), *((path.parent / name for name in _SIDECARS) if alone else ())]
    for name in names:
        try:
            entries = json.loads(read_file(name, _MAX_SIDECAR))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(entries, dict):
            return entries
    return {}


def sidecar_lr(entries: Mapping[str, Any]) -> float | None:
    """The learning rate in a sidecar: its own, or the last one in the Hugging Face Trainer's log."""
    own = content_lr(entries)
    log = entries.get("log_history")
    if own is not None or not isinstance(log, list):
        return own
    row = _last_rate(log)
    return None if row is None else real(row["learning_rate"])


def rate_note(entries: Mapping[str, Any]) -> str:
    """Of which step the learning rate of a sidecar is, where the Trainer's log has none of the checkpoint's own."""
    log, step = entries.get("log_history"), entries.get("global_step")
    if content_lr(entries) is not None or not isinstance(log, list) or not isinstance(step, int):
        return ""
    row = _last_rate(log)
    logged = None if row is None else row.get("step")
    return f"{RATE_OF} {logged}" if isinstance(logged, int) and logged != step else ""


def _last_rate(log: Sequence[Any]) -> Mapping[str, Any] | None:
    rows = (row for row in reversed(log) if isinstance(row, dict))
    return next((row for row in rows if real(row.get("learning_rate")) is not None), None)

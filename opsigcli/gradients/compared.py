"""The checkpoints whose gradients are compared, and the gradients that the store keeps of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import CheckpointError
from opsigcli.mining.methods import NEEDS_GRADIENTS
from opsigcli.mining.oscillation import checkpoints_to_compare
from opsigcli.runs.run_specs import absolute_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining.trace_stats import Survey
    from opsigcli.options import MineOptions
    from opsigcli.records import Ints
    from opsigcli.store.reader import Store

SHOWN = 6  # steps in a message


@dataclass(frozen=True)
class Compared:
    """Which checkpoints are compared."""

    rows: list[int]  # of the trace
    key: str  # hash of all that gradients at them depend on
    kept: dict[str, NDArray[np.generic]]  # what the store has of these gradients, {} for nothing
    note: str = ""  # what to say of checkpoints that are gone


def compared(
    store: Store, options: MineOptions, seen: Survey, window: tuple[int, int] | None, usable: Ints
) -> Compared:
    """The checkpoints to compare: of all that were traced, where their gradients are kept or need not be computed;
    else of those that are still where they were.

    Args:
        store: an open store.
        options: of the command.
        seen: the survey of its losses.
        window: of loss deltas, as ``checkpoints_to_compare`` takes it.
        usable: positions of the examples that are mined.

    Raises:
        CheckpointError: gradients are needed, and of no checkpoint that is there could they tell anything.
    """
    count = options.gradient_checkpoints
    rows = checkpoints_to_compare(store.losses, count, window, seen)
    key = _key(store, options, rows, usable)
    kept = store.gradients(key) or {}
    left = there(store)
    if kept or options.method not in NEEDS_GRADIENTS or left.all():
        return Compared(rows, key, kept)
    rows = checkpoints_to_compare(store.losses, count, window, seen, left)
    steps, unit = store.trace.steps, store.trace.axis.one
    gone = ", ".join(f"{step:,}" for step in steps[~left][:SHOWN]) + (" …" if (~left).sum() > SHOWN else "")
    which = f"{(~left).sum()} of {len(left)} traced checkpoints are gone from {store.run.checkpoints} ({unit} {gone})"
    if not rows:
        raise CheckpointError(
            f"expected traced checkpoints whose gradients can be compared; {which}",
            "put them back, or mine by the losses alone: --method losses",
        )
    at = ", ".join(f"{step:,}" for step in steps[rows])
    key = _key(store, options, rows, usable)
    note = f"{which}: gradients are compared at {unit} {at}, of those that are left"
    return Compared(rows, key, store.gradients(key) or {}, note)


def there(store: Store) -> NDArray[np.bool_]:
    """(T,) whether each checkpoint of a trace is where it was; a store may outlive some of them."""
    folder = Path(store.run.checkpoints)
    return np.array([(folder / file).exists() for file in store.files], dtype=bool)


def _key(store: Store, options: MineOptions, rows: Sequence[int], usable: Ints) -> str:
    run = store.run
    made_from = {
        "model": absolute_model(options.model) if options.model else run.model,
        "loss": run.loss,
        "fingerprint": run.fingerprint,
        "sha256": [store.sha256[row] for row in rows],
        "examples": hashlib.sha256(usable.tobytes()).hexdigest(),
        "candidates": options.candidates,
        "dimensions": options.sketch_dimensions,
        "seed": options.seed,
    }
    if run.batch_norm:
        made_from["batch_norm"] = run.batch_norm
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

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
from opsigcli.mining.oscillation import SEGMENTS, checkpoints_to_compare
from opsigcli.runs.run_specs import absolute_model
from opsigcli.token_ids import OWN_PLACE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining.trace_stats import Survey
    from opsigcli.options import MineOptions
    from opsigcli.records import Ints, Run
    from opsigcli.store.reader import Store

SHOWN = 6  # steps in a message
GIB = 1 << 30
SHARE = 0.1  # of a trace's forward passes, that mining its tokens may take
CHOSEN = "best of two or three ranks"  # how candidates are chosen out of more; changes when others would be
OPPOSITION = 0.01  # of them, that holding every token against references may take
GRADIENT = (
    4  # forward passes over a whole sequence that a token's gradient takes, as measured, of its beginning
)
FEWEST = 3  # checkpoints compared, where the trace has them, whatever they take


@dataclass(frozen=True)
class Compared:
    """Which checkpoints are compared."""

    rows: list[int]  # of the trace
    key: str  # hash of all that gradients at them depend on
    kept: dict[str, NDArray[np.generic]]  # what the store has of these gradients, {} for nothing
    note: str = ""  # what to say of checkpoints that are gone, or not compared for what they would take


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
    count, fewer = options.gradient_checkpoints or SEGMENTS, ""
    if options.gradient_checkpoints is None and store.run.transform.get("per") == "token":
        count, fewer = affordable(store.run, options, len(usable), len(store.files))
    rows = checkpoints_to_compare(store.losses, count, window, seen)
    key = _key(store, options, rows, usable)
    kept = store.gradients(key) or {}
    left = there(store)
    if options.method not in NEEDS_GRADIENTS or len(rows) < count:
        fewer = ""
    if kept or options.method not in NEEDS_GRADIENTS or left.all():
        return Compared(rows, key, kept, fewer)
    rows = checkpoints_to_compare(store.losses, count, window, seen, left)
    steps, unit = store.trace.steps, store.trace.axis.one
    gone = ", ".join(f"{step:,}" for step in steps[~left][:SHOWN]) + (" …" if (~left).sum() > SHOWN else "")
    which = f"{(~left).sum()} of {len(left)} traced checkpoints are gone from {store.run.checkpoints} ({unit} {gone})"
    if not rows:
        raise CheckpointError(
            f"expected traced checkpoints whose gradients can be compared; {which}",
            "put them back, trace the folder that holds them now, or mine by the losses alone: --method losses",
        )
    at = ", ".join(f"{step:,}" for step in steps[rows])
    key = _key(store, options, rows, usable)
    note = f"{which}: gradients are compared at {unit} {at}, of those that are left"
    note += f"; {fewer}" if fewer else ""
    return Compared(rows, key, store.gradients(key) or {}, note)


def affordable(run: Run, options: MineOptions, tokens: int, traced: int) -> tuple[int, str]:
    """Checkpoints at which gradients of tokens are compared, so that mining takes a tenth of the trace at most.

    In forward passes over all tokens, of which the trace took ``traced``: all are screened in s of them, 1 where their
    directions are kept, else 1 for the references, 1 for all, 1 for what is not kept; each checkpoint compared takes 1
    to ask who joins the pairs and, in sequences, for each candidate its last layer and its gradient: ``GRADIENT``, and
    twice that where its loss hangs on what follows. Holding all against references has ``OPPOSITION`` of the trace.

    Args:
        run: with the tokens of a sequence, and what was done to them.
        options: of the command.
        tokens: N that are mined.
        traced: T checkpoints.

    Returns:
        ``FEWEST`` to ``SEGMENTS`` checkpoints, and what to say where that is fewer than of other examples.
    """
    if tokens <= options.candidates:  # none is screened, and no other joins
        return SEGMENTS, ""
    sequences = max(tokens / max(*run.input_shape[:1], 1), 1)
    width = options.sketch_dimensions + min(options.sketch_dimensions, max(len(run.classes), 2))
    kept = min(options.screening_space * GIB / (2 * width * tokens), 1)
    screened = 1 if kept == 1 else 3 - kept
    causal = run.transform.get("labels") != OWN_PLACE
    gradients = options.candidates * GRADIENT * (1 if causal else 2)
    each = 1 + (gradients + min(options.candidates, sequences)) / sequences
    count = int(np.clip(((SHARE - OPPOSITION) * traced - screened) / each, FEWEST, SEGMENTS))
    if count == SEGMENTS:
        return count, ""
    takes = (screened + count * each) / traced + OPPOSITION
    least = "" if takes <= SHARE else f"; no fewer than {FEWEST} tell enough (fewer --candidates take less)"
    return count, (
        f"gradients are compared at {count} checkpoints, where other examples than tokens have {SEGMENTS}: mining then "
        f"takes up to {takes:.2g} of the trace's forward passes{least}; --gradient-checkpoints {SEGMENTS} has all"
    )


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
    if len(usable) > options.candidates:
        made_from["chosen"] = CHOSEN
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

"""Whether a checkpoint whose file has other bytes than were traced has the weights that were traced.

Optimizer states are stripped from files to save space, files are converted and saved anew: a store knows checkpoints by
their bytes. Weights that have the losses that were traced are taken for the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats

LOOKED_AT = 64  # examples, spread over the data
SAME = 1e-5  # nats, and of the loss: what another order of sums in float32 makes of it
NAMED = 3  # files


def same_losses(objective: Objective, known: Floats) -> bool:
    """Whether the weights that are loaded have the losses of a trace, on some examples.

    Args:
        objective: of the run, with the weights loaded and settled.
        known: (N,) losses as they were traced, nats.
    """
    positions = np.linspace(0, len(known) - 1, min(LOOKED_AT, len(known))).astype(np.int64)
    before = np.asarray(known)[positions]
    return np.allclose(objective.losses(positions), before, rtol=SAME, atol=SAME, equal_nan=True)


def said_of(files: Sequence[str]) -> str:
    """The note on checkpoints that were written again with the weights that they had."""
    named = ", ".join(files[:NAMED]) + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")
    return (
        f"written again since they were traced, with the losses of then, so that their weights are taken to be the "
        f"same: {named}; what they hold beside weights is read as it is now"
    )

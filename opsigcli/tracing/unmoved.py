"""Checkpoints that follow one another and have the same weights, as their losses tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opsigcli.store.reader import open_store


def unmoved(path: Path) -> list[str]:
    """A warning where checkpoints have the losses of the one before, to the bit; none where all differ.

    Args:
        path: of the store.

    Raises:
        StoreError: the store cannot be read.
    """
    with open_store(path) as store:
        steps = store.file["steps"][()].tolist()
        same, before = [], None
        for row, step in enumerate(steps):
            losses = store.losses_at(row)
            told = np.isfinite(losses)
            if before is not None and told.any() and np.array_equal(losses[told], before[told]):
                same.append(step)
            before = losses
    if not same:
        return []
    first = ", ".join(map(str, same[:5])) + (" …" if len(same) > 5 else "")
    return [
        f"{len(same)} of {len(steps)} checkpoints have the losses of the one before to the bit: {first}; their weights "
        "did not move (a learning rate of 0, a state_dict() that was kept and saved later, or one file saved twice)"
    ]

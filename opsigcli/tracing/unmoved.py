"""Checkpoints that follow one another and have the same weights, as their losses tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.store.reader import open_store

if TYPE_CHECKING:
    from opsigcli.records import Floats


ROUNDING = 1e-12  # relative difference of mean losses from which all losses of two checkpoints are compared


def unmoved(path: Path, mean_losses: Floats) -> list[str]:
    """A warning where checkpoints have the losses of the one before, to the bit; none where all differ.

    Args:
        path: of the store.
        mean_losses: (T,) of its checkpoints: losses are read where two in a row are alike, or there are none.

    Raises:
        StoreError: the store cannot be read.
    """
    alike = np.isclose(mean_losses[1:], mean_losses[:-1], rtol=ROUNDING, atol=0, equal_nan=True)
    same = []
    with open_store(path) as store:
        steps = store.file["steps"][()].tolist()
        for row in np.flatnonzero(alike).tolist():
            before, losses = store.losses_at(row), store.losses_at(row + 1)
            told = np.isfinite(losses)
            if told.any() and np.array_equal(losses[told], before[told]):
                same.append(steps[row + 1])
    if not same:
        return []
    first = ", ".join(map(str, same[:5])) + (" …" if len(same) > 5 else "")
    return [
        f"{len(same)} of {len(steps)} checkpoints have the losses of the one before to the bit: {first}; their weights "
        "did not move (a learning rate of 0, a state_dict() that was kept and saved later, or one file saved twice)"
    ]

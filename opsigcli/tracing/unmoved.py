"""Checkpoints that follow one another and have the same weights, as their losses tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.mean_loss import unmoved_rows
from opsigcli.store.reader import open_store

if TYPE_CHECKING:
    from opsigcli.records import Floats


def unmoved(path: Path, mean_losses: Floats) -> list[str]:
    """A warning where checkpoints have the losses of the one before, to the bit; none where all differ.

    Args:
        path: of the store.
        mean_losses: (T,) of its checkpoints: losses are read where two in a row are alike, or there are none.

    Raises:
        StoreError: the store cannot be read.
    """
    with open_store(path) as store:
        steps = store.file["steps"][()].tolist()
        same = [steps[row] for row in unmoved_rows(store.losses, mean_losses)]
    if not same:
        return []
    first = ", ".join(map(str, same[:5])) + (" …" if len(same) > 5 else "")
    return [
        f"{len(same)} of {len(steps)} checkpoints have the losses of the one before to the bit: {first}; their weights "
        "did not move (a learning rate of 0, a state_dict() that was kept and saved later, or one file saved twice)"
    ]

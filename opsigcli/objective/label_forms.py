"""Labels that data sets store otherwise than as (N,): in a column (N, 1), or as one-hot rows (N, C)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from opsigcli.examples import ExampleSource
from opsigcli.objective.counting import BLOCK
from opsigcli.objective.losses.base import Loss

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective


def as_stored(objective: Objective) -> Loss:
    """The objective's loss, told in which form the labels of its data are; targets are then labels (B,).

    A function of the user's is given the targets as they are stored.
    """
    loss, source = objective.kind, objective.source
    first = source.read_targets(objective.counted[:1])
    column = first.ndim > 1 and first.size == 1
    rows = first.ndim == 2 and first.shape[1] > 1 and loss.of_maps
    if first.dtype.kind == "f" or loss.foreign or loss.classes is None or not (column or rows):
        return loss
    if loss.of_tokens is not None or source.sequences is not None:
        return loss
    if column:
        return replace(loss, labels="column")
    with torch.inference_mode():
        outputs = objective.model(objective.read(objective.counted[:1]))
    same = getattr(outputs, "shape", None) == first.shape
    return replace(loss, labels="one-hot") if same and _one_hot(source) else loss


def _one_hot(source: ExampleSource) -> bool:
    """Whether every row has one 1, and 0 elsewhere."""
    for start in range(0, len(source), BLOCK):
        rows = source.read_targets(np.arange(start, min(start + BLOCK, len(source))))
        if (rows < 0).any() or (rows.max(1) != 1).any() or (rows.sum(1) != 1).any():
            return False
    return True

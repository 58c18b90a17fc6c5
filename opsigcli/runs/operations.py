"""What a forward pass costs, counted and not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Ints


def operations(objective: Objective, one: Ints) -> float:
    """Operations of a forward pass over one example: those of products and convolutions, or two for each weight where
    there are none.

    Args:
        objective: with weights; it is settled by this.
        one: (1,) its position.
    """
    objective.settle()
    inputs = objective.read(one)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        objective.model(inputs)
    weights = sum(parameter.numel() for parameter in objective.model.parameters())
    return float(max(counter.get_total_flops(), 2 * weights, 1))

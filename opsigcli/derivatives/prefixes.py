"""How much of its sequence a token's loss hangs on: in a causal model, nothing of what follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from opsigcli.objective.base import Objective

PROBED = 4  # tokens, early and late ones, whose gradients are held against those from whole sequences
TOLERANCE = 1e-4  # of its length


def seen_tokens(objective: Objective, positions: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Tokens (M,) of its sequence that the loss of each example hangs on; None where that is not known to be a part.

    Gradients of a token then come from the beginning of its sequence alone: half of it, in the mean. Whether a model
    sees what follows a token is tried on its gradients, at the weights that are loaded.

    Args:
        objective: with weights; where its examples are no tokens, or weighted, or have more than their numbers as
            inputs, nothing is left out.
        positions: M examples.
    """
    sequences = objective.source.sequences
    if sequences is None or not objective.outputs_per_token or objective.weights is not None:
        return None
    inputs, _ = objective.batch(positions[:1])
    if inputs.ndim != 2 or not len(positions):
        return None
    needed: NDArray[np.int64] = sequences.locate(positions)[2] + 1
    by_place = np.argsort(needed, kind="stable")
    for place in by_place[np.arange(PROBED) * len(needed) // PROBED]:
        if not _alike(objective, positions[place : place + 1], int(needed[place])):
            return None
    return needed


def _alike(objective: Objective, one: NDArray[np.int64], width: int) -> bool:
    """Whether an example's gradient is the same without the tokens from ``width`` on."""
    inputs, targets = objective.batch(one)
    try:
        whole, part = (
            _gradient(objective, inputs[:, :end], targets[:, :end]) for end in (inputs.shape[1], width)
        )
    except RuntimeError:  # a model of sequences of one length
        return False
    return bool((whole - part).norm() <= TOLERANCE * whole.norm())


def _gradient(objective: Objective, inputs: Tensor, targets: Tensor) -> Tensor:
    with torch.enable_grad():
        loss = objective.loss_fn(objective.outputs(inputs), targets).sum()
    parts = torch.autograd.grad(loss, objective.parameters, allow_unused=True)
    return torch.cat([part.reshape(-1) for part in parts if part is not None]).double()

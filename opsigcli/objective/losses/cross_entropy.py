"""``ce``: softmax cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from opsigcli.objective.losses.base import Loss, mean_of_labelled


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example in nats, ``log Σ_c exp z_c − z_y``.

    Args:
        outputs: logits (B, C, …); the loss is the mean over ``…``.
        targets: class labels (B, …), or class probabilities (B, C, …).

    Returns:
        (B,) nats; NaN where the label is ignored.
    """
    return mean_of_labelled(F.cross_entropy(outputs, targets, reduction="none"), targets)


LOSS = Loss(cross_entropy, classes=lambda outputs: outputs.shape[1] if outputs.ndim > 1 else 1)

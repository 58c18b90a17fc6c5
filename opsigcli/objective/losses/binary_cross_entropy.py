"""``bce``: sigmoid cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from opsigcli.objective.losses.base import Loss, mean_of_outputs, one_hot_classes, one_per_output


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid cross-entropy of each example, ``(1/C) Σ_c log(1 + exp z_c) − y_c z_c``.

    Args:
        outputs: logits (B, C, …).
        targets: probabilities of as many entries, or class labels (B,), which count as one-hot vectors, or as 0 and 1
            where there is one output.

    Returns:
        (B,) nats; NaN where the label is ignored.

    Raises:
        ObjectiveError: there are more or fewer targets than outputs.
    """
    dense = one_per_output(outputs, targets)
    return mean_of_outputs(F.binary_cross_entropy_with_logits(outputs, dense, reduction="none"), targets)


LOSS = Loss(binary_cross_entropy, classes=one_hot_classes)

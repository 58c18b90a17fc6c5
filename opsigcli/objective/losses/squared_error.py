"""``mse``: mean squared error."""

from __future__ import annotations

from torch import Tensor

from opsigcli.objective.losses.base import Loss, mean_of_outputs, one_hot_classes, one_per_output


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each example, ``(1/C) Σ_c (z_c − y_c)²``.

    Args:
        outputs: (B, C, …).
        targets: numbers of as many entries, or class labels (B,), which count as one-hot vectors.

    Returns:
        (B,) in the square of the targets' unit; NaN where the label is ignored.

    Raises:
        ObjectiveError: there are more or fewer targets than outputs.
    """
    return mean_of_outputs((outputs - one_per_output(outputs, targets)).square(), targets)


LOSS = Loss(squared_error, classes=one_hot_classes)

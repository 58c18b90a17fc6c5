"""``mse``, ``l1``, ``huber`` and ``smooth_l1``: losses of the gap between outputs and targets."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import UsageError
from opsigcli.objective.losses.base import (
    Configurable,
    Loss,
    one_hot_classes,
    one_per_output,
    over_outputs,
)
from opsigcli.query import choice, numbers
from opsigcli.specs import Spec

COMMON = ("outputs", "scale")


def _regression(spec: Spec, of_entries: Callable[..., Tensor], key: str = "") -> Loss:
    """``s · (1/C) Σ_c f(z_c, y_c)`` of each example, (B,); NaN where the label is ignored.

    Outputs are (B, C, …); targets numbers of as many entries, or class labels (B,), which count as one-hot vectors.
    ``outputs=sum`` leaves out the 1/C, and ``scale=0.5`` is s: with both, mse is the half squared distance.

    Raises:
        UsageError: an option has a wrong value.
        ObjectiveError: (when it is called) there are more or fewer targets than outputs.
    """
    how = choice(spec, "outputs", "mean", ("mean", "sum"))
    scale = positive(spec, "scale", 1.0)
    more = {key: positive(spec, key, 1.0)} if key else {}

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        each = of_entries(outputs, one_per_output(outputs, targets), reduction="none", **more)
        found = over_outputs(each, targets, how)
        return found if scale == 1 else scale * found

    return Loss(losses, classes=one_hot_classes)


def positive(spec: Spec, key: str, default: float) -> float:
    """A number above 0.

    Raises:
        UsageError: it is another one.
    """
    found = numbers(spec, key, (default,))
    if len(found) != 1 or found[0] <= 0:
        raise UsageError(f"in {str(spec)!r}: expected {key} to be a number above 0", f"change {key}=…")
    return found[0]


def squared(outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """``(z − y)²``."""
    return (outputs - targets).square()


MSE = Configurable(functools.partial(_regression, of_entries=squared), COMMON)
L1 = Configurable(functools.partial(_regression, of_entries=F.l1_loss), COMMON)
HUBER = Configurable(functools.partial(_regression, of_entries=F.huber_loss, key="delta"), ("delta", *COMMON))
SMOOTH_L1 = Configurable(
    functools.partial(_regression, of_entries=F.smooth_l1_loss, key="beta"), ("beta", *COMMON)
)

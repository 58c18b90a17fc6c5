"""``bce``, ``bce_prob`` and ``sigmoid_focal``: each output says yes or no for itself."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import UsageError
from opsigcli.objective.losses.base import (
    Configurable,
    ExampleLoss,
    Loss,
    constants,
    one_hot_classes,
    one_per_output,
    over_outputs,
)
from opsigcli.objective.losses.cross_entropy import fraction
from opsigcli.query import choice, numbers
from opsigcli.specs import Spec


def binary_cross_entropy(spec: Spec) -> Loss:
    """Sigmoid cross-entropy, ``(1/C) Σ_c v_c [π_c y_c s(−z_c) + (1 − y_c) s(z_c)]``, s(z) = log(1 + e^z).

    Outputs are logits (B, C, …); targets probabilities of as many entries, or class labels (B,), which count as
    one-hot vectors, or as 0 and 1 where there is one output. ``pos_weight`` is π and ``weight`` is v, one number for
    all outputs or one for each; as in torch neither enters the denominator. ``of=logits`` says that outputs which a
    sigmoid made are logits all the same.
    """
    insisted = choice(spec, "of", "", ("logits",))
    positive, weight = _for_outputs(spec, "pos_weight"), _for_outputs(spec, "weight")

    def each(outputs: Tensor, dense: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            outputs,
            dense,
            weight=constants(weight)(outputs) if weight else None,
            pos_weight=constants(positive)(outputs) if positive else None,
            reduction="none",
        )

    return replace(_of_outputs(spec, each), takes="" if insisted else "logits")


def of_probabilities(spec: Spec) -> Loss:
    """``(1/C) Σ_c v_c [−y_c log p_c − (1 − y_c) log(1 − p_c)]`` for outputs p that are probabilities already."""
    weight = _for_outputs(spec, "weight")

    def each(outputs: Tensor, dense: Tensor) -> Tensor:
        own = constants(weight)(outputs) if weight else None
        # torch refuses a whole batch for one output that is not a number.
        found = F.binary_cross_entropy(outputs.nan_to_num(0.5), dense, weight=own, reduction="none")
        return found + 0 * outputs

    return replace(_of_outputs(spec, each), takes="probabilities")


def sigmoid_focal(spec: Spec) -> Loss:
    """``(1/C) Σ_c α_c (1 − q_c)^γ (−log q_c)``, q_c the probability given to what c is, α_c that of yes or 1 − α.

    As ``torchvision.ops.sigmoid_focal_loss``; ``alpha=-1`` leaves α out.

    Raises:
        UsageError: an option has a wrong value.

    Reference: Lin et al. 2017, arXiv 1708.02002, equation 5.
    """
    (gamma,), (alpha,) = numbers(spec, "gamma", (2.0,))[:1], numbers(spec, "alpha", (0.25,))[:1]
    if gamma < 0:
        raise UsageError(f"in {str(spec)!r}: expected gamma to be a number of at least 0", "change gamma=…")
    if alpha != -1:
        fraction(spec, "alpha", 0.25)

    def each(outputs: Tensor, dense: Tensor) -> Tensor:
        surprise = F.binary_cross_entropy_with_logits(outputs, dense, reduction="none")
        p = torch.sigmoid(outputs)
        right = p * dense + (1 - p) * (1 - dense)
        found = surprise * (1 - right) ** gamma if gamma else surprise
        return found if alpha == -1 else found * (alpha * dense + (1 - alpha) * (1 - dense))

    return _of_outputs(spec, each)


def _of_outputs(spec: Spec, each: ExampleLoss) -> Loss:
    """The loss of examples from that of outputs and targets of one shape.

    Raises:
        ObjectiveError: (when it is called) there are more or fewer targets than outputs.
    """
    how = choice(spec, "outputs", "mean", ("mean", "sum"))

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return over_outputs(each(outputs, one_per_output(outputs, targets)), targets, how)

    return Loss(losses, classes=one_hot_classes, dense="of each")


def _for_outputs(spec: Spec, key: str) -> tuple[float, ...]:
    found = numbers(spec, key, ())
    if any(value < 0 for value in found):
        raise UsageError(f"in {str(spec)!r}: expected {key} to be numbers of at least 0", f"change {key}=…")
    return found


BCE = Configurable(binary_cross_entropy, ("pos_weight", "weight", "outputs", "of"))
BCE_PROB = Configurable(of_probabilities, ("weight", "outputs"))
SIGMOID_FOCAL = Configurable(sigmoid_focal, ("gamma", "alpha", "outputs"))

"""Per-example losses by name. Each maps outputs (B, …) and targets (B, …) to losses (B,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.registry import Entry, Registry
from opsigcli.specs import parse
from opsigcli.trust import CODE_SCHEMES
from opsigcli.usercode import guarded, load_factory

ExampleLoss = Callable[[Tensor, Tensor], Tensor]

LOSSES = Registry(
    "loss",
    {
        "ce": Entry("opsigcli.objective.losses:cross_entropy", "softmax cross-entropy, nats"),
        "mse": Entry(
            "opsigcli.objective.losses:squared_error", "mean squared error over outputs; labels are one-hot"
        ),
        "bce": Entry(
            "opsigcli.objective.losses:binary_cross_entropy",
            "sigmoid cross-entropy, mean over outputs; labels are one-hot",
        ),
    },
    group="opsig.losses",
)


def open_loss(spec_text: str) -> ExampleLoss:
    """The per-example loss that a spec names: a name in ``LOSSES``, or ``py:pkg.mod:function`` of the user's own.

    The user's function maps outputs (B, …) and targets (B, …) to losses (B,); options of the spec are its keywords.

    Raises:
        UsageError: the name is unknown, or the spec malformed.
        ObjectiveError: the user's code fails.
    """
    spec = parse(spec_text)
    if spec.scheme not in CODE_SCHEMES:
        found: ExampleLoss = LOSSES.load(str(spec))
        return found
    factory = load_factory(spec, ObjectiveError)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        with guarded(ObjectiveError, f"calling {spec_text!r}"):
            losses: Tensor = factory(outputs, targets, **spec.options)
        return losses

    return loss


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example in nats, ``log Σ_c exp z_c − z_y``; outputs (B, C, …) are averaged over ``…``."""
    losses = F.cross_entropy(outputs, targets, reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each example, ``mean_c (z_c − y_c)²``; integer labels count as one-hot vectors."""
    return (outputs - _dense(outputs, targets)).square().flatten(1).mean(1)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid cross-entropy of each example, mean over its outputs; integer labels count as one-hot vectors,
    or as 0 and 1 when there is one output."""
    dense = _dense(outputs, targets)
    return F.binary_cross_entropy_with_logits(outputs, dense, reduction="none").flatten(1).mean(1)


def _dense(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape of the outputs."""
    if targets.dtype == torch.int64:
        if outputs.ndim == 1 or outputs.shape[-1] == 1:
            return targets.to(outputs.dtype).reshape(outputs.shape)
        return F.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
    if targets.numel() != outputs.numel():
        raise ObjectiveError(
            f"expected targets of the outputs' shape {tuple(outputs.shape)}, found {tuple(targets.shape)}",
            "choose another --loss, or a model with as many outputs as targets",
        )
    return targets.to(outputs.dtype).reshape(outputs.shape)

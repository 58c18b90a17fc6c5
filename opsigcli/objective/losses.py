"""Per-example losses by name. Each maps outputs (B, …) and targets (B, …) to losses (B,).

A label of ``IGNORED`` says that there is nothing to measure: the loss is NaN where a whole example is ignored, and
ignored entries of an example do not count in its mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.objective import LOSSES
from opsigcli.specs import parse
from opsigcli.trust import is_code
from opsigcli.usercode import guarded, load_factory

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
IGNORED = -100  # PyTorch's ignore_index


def open_loss(text: str) -> ExampleLoss:
    """The loss that ``text`` names: one in ``LOSSES``, or ``py:pkg.mod:fn`` or ``file:path.py:fn``.

    A function of the user's takes outputs and targets of B examples, and the options of the spec as keywords; it
    returns (B,) losses.

    Raises:
        UsageError: the name is unknown.
        ObjectiveError: the user's code cannot be loaded, or fails.
    """
    if not is_code(text):
        loss: ExampleLoss = LOSSES.load(text)
        return loss
    spec = parse(text)
    function = functools.partial(load_factory(spec, ObjectiveError), **spec.options)

    def call(outputs: Tensor, targets: Tensor) -> Tensor:
        with guarded(ObjectiveError, f"the loss {text!r}"):
            found = function(outputs, targets)
        if not isinstance(found, Tensor) or found.shape != (len(outputs),):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ObjectiveError(
                f"expected {text!r} to return one loss per example, shape ({len(outputs)},); found {shape}",
                "compute with reduction='none' and average over all but the first dimension",
            )
        return found

    return call


def weighted(loss: ExampleLoss, floating: bool) -> ExampleLoss:
    """``w_i ℓ_i``, for targets that ``pack_weights`` made."""

    def call(outputs: Tensor, packed: Tensor) -> Tensor:
        targets, weights = packed[..., :-1], packed[..., -1]
        targets = targets.to(outputs.dtype) if floating else targets[..., 0].long()
        return loss(outputs, targets) * weights.to(outputs.dtype)

    return call


def pack_weights(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets (N, …) with the weight of each example behind them, (N, K + 1) float64.

    Whoever evaluates a loss passes targets on as they are, so that a weight reaches every use of it.
    """
    return torch.cat([targets.reshape(len(targets), -1).double(), weights.double()[:, None]], dim=1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example in nats, ``log Σ_c exp z_c − z_y``; outputs (B, C, …) are averaged over ``…``."""
    losses = F.cross_entropy(outputs, targets, reduction="none")
    return _mean_of_labelled(losses, targets)


def next_token(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of a sequence in nats, mean over its labelled tokens; NaN without any.

    Args:
        outputs: logits (B, L, V); position j predicts targets[:, j].
        targets: (B, L) tokens, already shifted; ``IGNORED`` where there is none to predict.
    """
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
    return _mean_of_labelled(losses.view(targets.shape), targets)


def token_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """``next_token`` before the mean: (B, L) nats."""
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
    return losses.view(targets.shape)


def _mean_of_labelled(losses: Tensor, targets: Tensor) -> Tensor:
    """(B,) means over the entries whose label is not ``IGNORED``; 0/0 is NaN: not measured."""
    if targets.is_floating_point():  # class probabilities have no entry to ignore
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses
    if losses.ndim == 1:
        return losses.masked_fill(targets == IGNORED, torch.nan)
    labelled = (targets != IGNORED).to(losses.dtype)
    return losses.flatten(1).sum(1) / labelled.flatten(1).sum(1)


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

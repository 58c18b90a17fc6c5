"""What a loss is: a function of outputs and targets, and the facts that decide what it can be used on.

A label of ``IGNORED`` says that there is nothing to measure: the loss is NaN where a whole example is ignored, and
ignored entries of an example do not count in its mean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.objective.losses import LOSSES
from opsigcli.records import IGNORED
from opsigcli.specs import parse
from opsigcli.trust import is_code
from opsigcli.usercode import guarded, load_factory

ExampleLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss of single examples, and what it takes."""

    of_examples: ExampleLoss  # outputs (B, …) and targets (B, …) -> losses (B,)
    classes: Callable[[Tensor], float] | None = (
        None  # outputs (B, …) -> classes that labels may name; None = unknown
    )
    of_tokens: ExampleLoss | None = (
        None  # outputs (B, L, V) and tokens (B, L) -> (B, L), where targets are tokens
    )


def open_loss(text: str) -> Loss:
    """The loss that ``text`` names: one in ``LOSSES``, or ``py:pkg.mod:fn`` or ``file:path.py:fn``.

    A function of the user's takes outputs and targets of B examples, and the options of the spec as keywords; it
    returns (B,) losses.

    Raises:
        UsageError: the name is unknown.
        ObjectiveError: the user's code cannot be loaded.
    """
    if is_code(text):
        spec = parse(text)
        found = functools.partial(load_factory(spec, ObjectiveError), **spec.options)
    else:
        found = LOSSES.load(text)
    return found if isinstance(found, Loss) else Loss(_checked(found, text))


def _checked(function: Callable[..., Any], text: str) -> ExampleLoss:
    """A function from elsewhere, which fails in words.

    Raises:
        ObjectiveError: (when called) it returns something other than one loss per example.
    """

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


def mean_of_labelled(losses: Tensor, targets: Tensor) -> Tensor:
    """(B,) means over the entries whose label is not ``IGNORED``; 0/0 is NaN: not measured.

    Args:
        losses: (B, …), 0 where the label is ignored.
        targets: labels of the same shape, or class probabilities, which have no entry to ignore.
    """
    if targets.is_floating_point():
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses
    if losses.ndim == 1:
        return losses.masked_fill(targets == IGNORED, torch.nan)
    labelled = (targets != IGNORED).to(losses.dtype)
    return losses.flatten(1).sum(1) / labelled.flatten(1).sum(1)


def mean_of_outputs(losses: Tensor, targets: Tensor) -> Tensor:
    """(B,) means over the outputs of each example; NaN where its label is ``IGNORED``.

    Args:
        losses: (B, …) of each output.
        targets: labels (B,), or numbers.
    """
    means = losses.reshape(len(losses), -1).mean(1)
    return means if targets.is_floating_point() else means.masked_fill(targets == IGNORED, torch.nan)


def one_per_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape of the outputs: labels (B,) as one-hot vectors, or as numbers where there is one output.

    Raises:
        ObjectiveError: there are more or fewer targets than outputs.
    """
    if not targets.is_floating_point() and targets.ndim == 1:
        labels = targets.clamp_min(0)  # what is ignored has a place as well
        if _single(outputs):
            return labels.to(outputs.dtype).reshape(outputs.shape)
        return F.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
    if targets.numel() != outputs.numel():
        raise ObjectiveError(
            f"expected targets of the outputs' shape {tuple(outputs.shape)}, found {tuple(targets.shape)}",
            "choose another --loss, or a model with as many outputs as targets",
        )
    return targets.to(outputs.dtype).reshape(outputs.shape)


def one_hot_classes(outputs: Tensor) -> float:
    """How many classes the labels of ``one_per_output`` may name: any where there is one output."""
    return math.inf if _single(outputs) else outputs.shape[-1]


def _single(outputs: Tensor) -> bool:
    return outputs.ndim == 1 or outputs.shape[-1] == 1

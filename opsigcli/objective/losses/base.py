"""What a loss is: a function of outputs and targets, how it enters the mean, and what it can be used on.

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

from opsigcli.errors import ObjectiveError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.objective.losses import LOSSES
from opsigcli.registry import unknown
from opsigcli.specs import Spec, parse
from opsigcli.trust import is_code
from opsigcli.usercode import guarded, load_factory

ExampleLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss of single examples, what it takes, and how much an example counts in ``L = Σ_i w_i ℓ_i / Σ_i w_i``."""

    of_examples: ExampleLoss  # outputs (B, …) and targets (B, …) -> losses ℓ (B,), each the example's own
    classes: Callable[[Tensor], float] | None = (
        None  # outputs (B, …) -> classes that labels may name; None = unknown
    )
    of_tokens: ExampleLoss | None = (
        None  # outputs (B, L, V) and tokens (B, L) -> (B, L), where targets are tokens
    )
    of_maps: bool = False  # outputs (B, C, …) with maps of labels (B, …) as well
    # Targets (B, …) -> w (B,), how much each counts, or None where all examples with such targets count alike.
    counts: Callable[[Tensor], Tensor | None] | None = None
    counts_by: str = ""  # what w is, in words
    # Of a function of the user's: outputs (B, …) and targets (B, …) -> the w (B,) that it returns with them, or None.
    counts_beside: Callable[[Tensor, Tensor], Tensor | None] | None = None
    takes: str = (
        ""  # what outputs have to be: logits, log-probabilities, probabilities (of classes); "" = anything
    )
    dense: str = (
        ""  # what targets of many numbers have to be: probabilities "of classes", "of each"; "" = any numbers
    )
    labels: str = (
        ""  # how data store them: "" = as the loss takes them, "column" (N, 1), or "one-hot" rows (N, C)
    )
    ignores: bool = False  # ``ignore_index=`` is an option
    ignore_index: int = IGNORED  # another label that says to ignore
    foreign: bool = False  # a function of the user's


@dataclass(frozen=True)
class Configurable:
    """A loss with options: ``name?key=value&key=value``."""

    make: Callable[[Spec], Loss]  # reads the options, which are among the known ones
    options: tuple[str, ...]


# Options that others have for things that are told elsewhere, or in another word.
_ELSEWHERE = {
    "l2": "an L2 penalty (c/2)‖θ‖² is no part of the loss here, nor of H: give opsig sharpness --weight-decay c, "
    "which moves the threshold by as much",
    "reduction": "opsig's mean is over examples; outputs=sum adds up the outputs of one, and for losses that were "
    "summed over a batch of B multiply --lr by B",
}
_ELSEWHERE |= dict.fromkeys(("weight_decay", "penalty"), _ELSEWHERE["l2"])


def open_loss(text: str) -> Loss:
    """The loss that ``text`` names: one in ``LOSSES`` with its options, or ``py:pkg.mod:fn`` or ``file:path.py:fn``.

    A function of the user's takes outputs and targets of B examples, and the options of the spec as keywords; it
    returns (B,) losses ℓ, or a pair of them and (B,) weights w, which depend on the targets alone: the mean is then
    ``Σ w ℓ / Σ w``.

    Raises:
        UsageError: the name or an option is unknown, or an option has a wrong value.
        ObjectiveError: the user's code cannot be loaded.
    """
    spec = parse(text)
    if is_code(text):
        return _of_user(functools.partial(load_factory(spec, ObjectiveError), **spec.options), text)
    found = LOSSES.load(text.partition("?")[0].strip())
    if isinstance(found, Configurable):
        for key in spec.options:
            if key in _ELSEWHERE and key not in found.options:
                raise UsageError(
                    f"in {text!r}: unknown option {key!r}; known: {', '.join(found.options)}", _ELSEWHERE[key]
                )
        return found.make(spec.only(*found.options))
    for key in spec.options:
        raise unknown(f"option of {spec.name}", key, ())
    return found if isinstance(found, Loss) else _of_user(found, text)


def _of_user(function: Callable[..., Any], text: str) -> Loss:
    """A function from elsewhere, which fails in words.

    Raises:
        ObjectiveError: (when called) it returns something other than one loss per example.
    """

    def both(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        with guarded(ObjectiveError, f"the loss {text!r}"):
            found = function(outputs, targets)
        weights = None
        if isinstance(found, tuple) and len(found) == 2:
            found, weights = found
        for part in (found,) if weights is None else (found, weights):
            if not isinstance(part, Tensor) or part.shape != (len(outputs),):
                shape = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ObjectiveError(
                    f"expected {text!r} to return one loss per example, shape ({len(outputs)},); found {shape}",
                    "compute with reduction='none' and average over all but the first dimension; for a weighted "
                    "mean return (losses, weights)",
                )
        return found, weights

    shape: list[tuple[int, ...]] = []  # of one example's outputs

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        shape[:] = [tuple(outputs.shape[1:])]
        return both(outputs, targets)[0]

    def counts(targets: Tensor) -> Tensor | None:
        return both(torch.zeros(len(targets), *shape[0], device=targets.device), targets)[1]

    return Loss(
        losses,
        counts=counts,
        counts_by=f"the weights that {text} returns",
        counts_beside=lambda outputs, targets: both(outputs, targets)[1],
        foreign=True,
    )


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


def over_outputs(losses: Tensor, targets: Tensor, how: str = "mean") -> Tensor:
    """(B,) means or sums over the outputs of each example; NaN where its label is ``IGNORED``.

    Args:
        losses: (B, …) of each output.
        targets: labels (B,), or numbers, or labels 0 and 1 of each output.
        how: mean or sum.
    """
    flat = losses.reshape(len(losses), -1)
    found = flat.mean(1) if how == "mean" else flat.sum(1)
    if targets.is_floating_point() or targets.ndim != 1:
        return found
    return found.masked_fill(targets == IGNORED, torch.nan)


def one_per_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape of the outputs: labels (B,) as one-hot vectors, or as numbers where there is one output.

    Raises:
        ObjectiveError: there are more or fewer targets than outputs.
    """
    if not targets.is_floating_point() and targets.ndim == 1:
        labels, width = targets.clamp_min(0), _width(outputs)  # what is ignored has a place as well
        if width == 1:
            return labels.to(outputs.dtype).reshape(outputs.shape)
        if max(outputs.shape[1:]) != width:
            raise ObjectiveError(
                f"expected one output for each class, (B, C), for labels {tuple(targets.shape)}; found outputs "
                f"{tuple(outputs.shape)}",
                "let the model put out one row of classes for each example",
            )
        return F.one_hot(labels, width).to(outputs.dtype).reshape(outputs.shape)
    if targets.numel() != outputs.numel():
        raise ObjectiveError(
            f"expected targets of the outputs' shape {tuple(outputs.shape)}, found {tuple(targets.shape)}",
            "choose another --loss, or a model with as many outputs as targets",
        )
    return targets.to(outputs.dtype).reshape(outputs.shape)


def one_hot_classes(outputs: Tensor) -> float:
    """How many classes the labels of ``one_per_output`` may name: any where there is one output."""
    width = _width(outputs)
    return math.inf if width == 1 else width


def _width(outputs: Tensor) -> int:
    """Outputs of one example."""
    return math.prod(outputs.shape[1:])


def constants(values: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """Given numbers as a tensor of the type and on the device of another one; made once for each."""

    @functools.lru_cache(maxsize=8)
    def made(dtype: torch.dtype, device: torch.device) -> Tensor:
        with torch.inference_mode(False):
            return torch.tensor(values, dtype=dtype, device=device)

    return lambda like: made(like.dtype, like.device)

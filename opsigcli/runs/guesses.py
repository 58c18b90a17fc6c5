"""The scores of outputs that do not look at the inputs: what a run has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opsigcli.examples import IGNORED
from opsigcli.look_records import Score
from opsigcli.runs.right_answers import class_dimension, labels_of, says_yes_or_no

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.objective.losses.base import Loss
    from opsigcli.records import Floats, Ints

LEAST = 1e-12  # probability of a class that does not occur


def guesses(
    objective: Objective, sample: Ints, weights: Floats
) -> tuple[Score | None, Score | None, int | None]:
    """The scores of a uniform guess, and of the best constant; and the number of classes.

    The best constant is the frequency of every class (of every yes, where each output says yes or no), or the mean of
    targets that are numbers, over the sample.

    Args:
        objective: any.
        sample: positions.
        weights: of each, adding up to 1.

    Returns:
        None where the loss is a function of the user's, or there is nothing of the kind.
    """
    objective.settle()
    with torch.inference_mode():
        outputs = objective.model(objective.batch(sample[:1])[0])
        labels = labels_of(objective, sample)
        dim = class_dimension(objective, outputs, labels[:1])  # as many rows as the outputs have
        if dim is not None:
            return _of_classes(objective, sample, weights, labels, outputs, dim)
        share = torch.as_tensor(weights).to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
        if says_yes_or_no(objective, outputs, labels):
            often = (labels.clamp(min=0).double() * share).sum(0)
            found = [
                Score(_constant(objective, sample, weights, outputs, guess), right)
                for guess, right in (
                    (torch.full_like(often, 0.5), 0.5),
                    (often, float(torch.maximum(often, 1 - often).mean())),
                )
            ]
            return found[0], found[1], None
        if not labels.is_floating_point() or objective.kind.foreign:
            return None, None, None
        if labels[0].numel() != outputs[0].numel():
            return None, None, None
        mean = (labels.double() * share).sum(0)
        return None, Score(_constant(objective, sample, weights, outputs, mean), None), None


def _of_classes(
    objective: Objective, sample: Ints, weights: Floats, labels: Tensor, outputs: Tensor, dim: int
) -> tuple[Score, Score, int]:
    classes = outputs.shape[dim]
    labelled = (labels != IGNORED).reshape(len(labels), -1)
    share = (
        torch.as_tensor(weights).to(labels.device)[:, None]
        * labelled
        / labelled.sum(1, keepdim=True).clamp(min=1)
    )
    often = torch.zeros(classes, dtype=torch.float64, device=labels.device)
    often.index_add_(0, labels.reshape(len(labels), -1)[labelled], share[labelled])
    shape = [1] * (outputs.ndim - 1)
    shape[dim - 1] = classes
    uniform, prior = (
        _constant(objective, sample, weights, outputs, guess.reshape(shape))
        for guess in (torch.full_like(often, 1 / classes), often)
    )
    return Score(uniform, 1 / classes), Score(prior, float(often.max())), classes


def _constant(objective: Objective, sample: Ints, weights: Floats, outputs: Tensor, guess: Tensor) -> float:
    """The mean loss of one guess for all examples, put in the way in which the loss takes outputs."""
    constant = _as_outputs(objective.kind)(guess).to(outputs.dtype)
    constant = constant.reshape(outputs.shape[1:]) if constant.numel() == outputs[0].numel() else constant
    losses = []
    for start in range(0, len(sample), objective.batch_size):
        part = sample[start : start + objective.batch_size]
        each = constant.expand(len(part), *outputs.shape[1:])
        losses.append(objective.example_loss(each, objective.targets(part)).double().cpu())
    return float(torch.as_tensor(weights) @ torch.cat(losses))


def _as_outputs(loss: Loss) -> Callable[[Tensor], Tensor]:
    """From probabilities to what the loss takes: themselves, their logarithms, or their log-odds."""
    if loss.takes.startswith("probabilities"):
        return lambda p: p
    if loss.dense == "of each":
        return lambda p: torch.logit(p, LEAST)
    if loss.of_maps or loss.of_tokens is not None:
        return lambda p: p.clamp(min=LEAST).log()
    return lambda p: p

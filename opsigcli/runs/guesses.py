"""The scores of outputs that do not look at the inputs: what a run has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opsigcli.examples import IGNORED
from opsigcli.look_records import Score
from opsigcli.runs.best_constant import best_constant, constant_loss
from opsigcli.runs.right_answers import class_dimension, labels_of, says_yes_or_no

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints


def guesses(
    objective: Objective, sample: Ints, weights: Floats
) -> tuple[Score | None, Score | None, int | None]:
    """The scores of a uniform guess, and of the best constant; and the number of classes.

    The best constant starts from the frequency of every class (of every yes, where each output says yes or no), or from
    the mean of targets that are numbers, over the sample; these are it under plain cross-entropy and squared errors.

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
            half = torch.full_like(often, 0.5)
            uniform = constant_loss(objective, sample, weights, outputs, half)
            prior = best_constant(objective, sample, weights, outputs, [often, half])
            return Score(uniform, 0.5), Score(prior, float(torch.maximum(often, 1 - often).mean())), None
        if not labels.is_floating_point() or objective.kind.foreign:
            return None, None, None
        if labels[0].numel() != outputs[0].numel():
            return None, None, None
        mean = (labels.double() * share).sum(0)
        return None, Score(best_constant(objective, sample, weights, outputs, [mean]), None), None


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
    even = torch.full_like(often, 1 / classes).reshape(shape)
    uniform = constant_loss(objective, sample, weights, outputs, even)
    own = often.reshape(shape)
    mixed = 0.9 * own + 0.1 * even  # near what label smoothing asks for, of classes that do not occur
    prior = best_constant(objective, sample, weights, outputs, [own, even, mixed])
    return Score(uniform, 1 / classes), Score(prior, float(often.max())), classes

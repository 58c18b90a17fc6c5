"""The outputs that do best of all that do not look at the inputs, under any loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.objective.losses.base import Loss
    from opsigcli.records import Floats, Ints

LEAST = 1e-12  # probability of a class that does not occur
ITERATIONS = 40
LARGEST = 1 << 24  # outputs of the sample, beyond which the start alone is taken


def best_constant(
    objective: Objective, sample: Ints, weights: Floats, outputs: Tensor, starts: list[Tensor]
) -> float:
    """The least mean loss ``min_c Σ_i w_i ℓ(c, y_i)`` of one guess c for all examples.

    Frequencies of classes are it under plain cross-entropy, and the mean under squared errors, but with label
    smoothing, ``pos_weight``, a focal or an absolute loss they are not. So c is moved from the best start (L-BFGS in
    what makes probabilities of any numbers), and the least value that was met counts.

    Args:
        objective: any of opsig's own losses.
        sample: positions.
        weights: of each, adding up to 1.
        outputs: of one example, (1, …).
        starts: guesses, as probabilities or as numbers, in the shape of outputs of one example or one that expands.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        free = [_free(objective.kind, start.clone().double()) for start in starts]
        values = [_mean(objective, sample, weights, outputs, point) for point in free]
        least = min(range(len(free)), key=lambda i: values[i] if math.isfinite(values[i]) else math.inf)
        found = values[least]
        if not math.isfinite(found) or len(sample) * outputs[0].numel() > LARGEST:
            return found
        point = free[least].clone().requires_grad_()
        solver = torch.optim.LBFGS([point], max_iter=ITERATIONS, line_search_fn="strong_wolfe")
        met = [found]

        def closure() -> float:
            solver.zero_grad()
            met.append(_mean(objective, sample, weights, outputs, point, backward=True))
            return met[-1]

        solver.step(closure)  # type: ignore[no-untyped-call]
        return min(value for value in met if math.isfinite(value))


def constant_loss(
    objective: Objective, sample: Ints, weights: Floats, outputs: Tensor, guess: Tensor
) -> float:
    """The mean loss of one guess for all examples, put in the way in which the loss takes outputs."""
    return _mean(objective, sample, weights, outputs, _free(objective.kind, guess.double()))


def _mean(
    objective: Objective,
    sample: Ints,
    weights: Floats,
    outputs: Tensor,
    point: Tensor,
    *,
    backward: bool = False,
) -> float:
    """The mean loss of a constant; with ``backward``, its gradient is added to the point's."""
    total = 0.0
    for start in range(0, len(sample), objective.batch_size):
        part = slice(start, start + objective.batch_size)
        constant = _as_outputs(objective.kind, point).to(outputs.dtype)
        constant = constant.reshape(outputs.shape[1:]) if constant.numel() == outputs[0].numel() else constant
        each = constant.expand(len(sample[part]), *outputs.shape[1:])
        losses = objective.example_loss(each, objective.targets(sample[part])).double().cpu()
        share = torch.as_tensor(weights[part])
        mean = (share * losses).sum()
        if backward:
            torch.autograd.backward(mean)
        total += float(mean.detach())
    return total


def _free(loss: Loss, guess: Tensor) -> Tensor:
    """Numbers of any size that stand for a guess: logarithms or log-odds of probabilities, numbers themselves."""
    if loss.dense == "of each":
        return torch.logit(guess, LEAST)
    return guess.clamp(min=LEAST).log() if _of_classes(loss) else guess


def _as_outputs(loss: Loss, point: Tensor) -> Tensor:
    """From these to what the loss takes."""
    if loss.dense == "of each":
        return point.sigmoid() if loss.takes.startswith("probabilities") else point
    if not _of_classes(loss):
        return point
    if loss.takes in ("", "logits"):
        return point
    logs = point.log_softmax(next((i for i, size in enumerate(point.shape) if size > 1), 0))
    return logs.exp() if loss.takes.startswith("probabilities") else logs


def _of_classes(loss: Loss) -> bool:
    return loss.of_maps or loss.of_tokens is not None

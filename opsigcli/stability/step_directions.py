"""The directions that a step which is not the rule's is held against, and what was assumed of the rule."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.objective.losses.base import one_per_output
from opsigcli.runs.tuning import Tuning
from opsigcli.stability.step_causes import Assumed
from opsigcli.stability.updates import State, Update, Updates
from opsigcli.stability.weighed import CLASS, EVERY, NO, YES

CLASSES = 20  # whose gradients are taken one by one, at most
LOOKED = 1000  # examples whose labels tell whether all say yes or no


def more_directions(
    updates: Updates, row: int, start: Tensor, update: Update, state: State
) -> dict[str, Tensor]:
    """The directions of ``find_cause`` beside rule, gradient and weights; leaves other checkpoints loaded.

    Args:
        updates: of the run.
        row: of the checkpoint.
        start: θ (P,).
        update: the rule's on all examples.
        state: of the optimizer.
    """
    objective = updates.objective
    parts = torch.split(start, updates.sizes())
    found = {
        "matrices": torch.cat(
            [
                x if p.ndim > 1 else torch.zeros_like(x)
                for x, p in zip(parts, objective.parameters, strict=True)
            ]
        )
    }
    buffers = [state.get(f"{name}/momentum_buffer") for name in objective.parameter_names]
    if all(buffer is not None for buffer in buffers):
        found["buffer"] = torch.cat([b.reshape(-1).to(start) for b in buffers if b is not None])
    if objective.loss == "ce" and objective.weights is None and updates.example_weights is None:
        updates.run.load(row)
        own, objective.loss_fn = objective.loss_fn, _uniform
        try:
            found["smoothing"] = updates.make(row, None, {}).gradient - update.gradient
        finally:
            objective.loss_fn = own
        found |= _by_class(updates, row)
    if objective.loss == "bce" and objective.weights is None and updates.example_weights is None:
        found |= _by_answer(updates, row)
    if objective.loss == "mse" and objective.weights is None and updates.example_weights is None:
        found |= _of_their_mean(updates, row)
    previous = updates.previous(row, start)
    if previous is not None:
        found["previous"] = previous
        found["before"] = updates.make(row - 1, None, {}).gradient
    return found


def _by_class(updates: Updates, row: int) -> dict[str, Tensor]:
    """The part of the mean loss's gradient that each class of examples has, (P,), by the class's number."""
    objective = updates.objective
    classes = np.unique(objective.source.labels[objective.counted]).tolist()
    if not 2 <= len(classes) <= CLASSES or objective.targets(objective.counted[:1]).ndim != 1:
        return {}
    own, found = objective.loss_fn, dict[str, Tensor]()
    for label in classes:

        def of_class(outputs: Tensor, targets: Tensor, label: int = label) -> Tensor:
            return own(outputs, targets) * (targets == label)

        updates.run.load(row)
        objective.loss_fn = of_class
        try:
            found[f"{CLASS}{label}"] = updates.make(row, None, {}).gradient
        finally:
            objective.loss_fn = own
    return found


def _by_answer(updates: Updates, row: int) -> dict[str, Tensor]:
    """The part of the gradient that each output has where its label is yes, (P,), and that of all whose label is no."""
    objective = updates.objective
    updates.run.load(row)
    outputs = objective.outputs(objective.batch(objective.counted[:1])[0]).detach()
    some = objective.counted[:LOOKED]
    targets = objective.targets(some)
    dense = one_per_output(outputs.expand(len(some), *outputs.shape[1:]), targets).reshape(len(some), -1)
    if not bool(((dense == 0) | (dense == 1)).all()):
        return {}
    number = dense.shape[1]
    places = {f"{YES}{k}": [k] for k in range(number)} if number <= CLASSES else {f"{YES}*": [*range(number)]}
    own, found = objective.loss_fn, dict[str, Tensor]()
    for name, wanted in {**places, NO: []}.items():

        def of_part(outputs: Tensor, targets: Tensor, wanted: list[int] = wanted) -> Tensor:
            flat, yes = (x.reshape(len(x), -1) for x in (outputs, one_per_output(outputs, targets) > 0.5))
            at = torch.zeros_like(yes) if wanted else ~yes
            at[:, wanted] = yes[:, wanted]
            return own(torch.where(at, flat, flat.detach()).reshape(outputs.shape), targets)

        updates.run.load(row)
        objective.loss_fn = of_part
        try:
            found[name] = updates.make(row, None, {}).gradient
        finally:
            objective.loss_fn = own
    return found


def _of_their_mean(updates: Updates, row: int) -> dict[str, Tensor]:
    """The gradient (P,) where every output is held against all targets, one of each example: the mean's.

    torch makes (N, N) differences of outputs (N, 1) and targets (N,).
    """
    objective = updates.objective
    targets = objective.targets(objective.counted)
    if not targets.is_floating_point() or targets.numel() != len(targets):
        return {}
    own, mean = objective.loss_fn, targets.mean()
    updates.run.load(row)
    objective.loss_fn = lambda outputs, targets: own(outputs, torch.full_like(targets, float(mean)))
    try:
        return {EVERY: updates.make(row, None, {}).gradient}
    finally:
        objective.loss_fn = own


def assumed_of(tuning: Tuning) -> Assumed:
    """What is the same for all parts of a tuning; NaN where they differ."""
    settled = [part.rule.settle(part.hyper) for part in tuning.parts]
    gains, decays = set(), {values.get("weight_decay", 0.0) for values in settled}
    for part, values in zip(tuning.parts, settled, strict=True):
        beta, dampening = values.get("momentum", 0.0), values.get("dampening", 0.0)
        tau = beta if dampening is None else dampening
        gains.add({"nesterov": 1 + beta, "dampened": 1 - tau}.get(part.name, 1.0))
    return Assumed(
        tuning.parts[0].name,
        tuning.lr or math.nan,
        gains.pop() if len(gains) == 1 else math.nan,
        decays.pop() if len(decays) == 1 else math.nan,
        any(part.rule.preconditions for part in tuning.parts),
    )


def _uniform(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy to labels that are all classes alike, (B,) nats."""
    found = -F.log_softmax(outputs, 1).mean(1)
    return found.flatten(1).mean(1) if outputs.ndim > 2 else found

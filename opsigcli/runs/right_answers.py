"""Which examples a model answers rightly: the largest output is that of the label, or each lies on its label's side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from opsigcli.examples import IGNORED
from opsigcli.objective.counting import marked

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints


def right_answers(objective: Objective, outputs: Tensor, positions: Ints) -> Floats | None:
    """(B,) share of each example's labels that are answered rightly; None where ``right_labels`` has none."""
    found = right_labels(objective, outputs, positions)
    if found is None:
        return None
    hits, labelled = (each.reshape(len(positions), -1).sum(1).double() for each in found)
    return np.asarray((hits / labelled.clamp(min=1)).cpu().numpy())


def share_right(weights: Floats, right: Floats) -> float:
    """``Σ w r / Σ w``: of equal weights and whole answers the number nearest to k/n, so that all right is 1, not below.

    A gate at the threshold itself is held against it.

    Args:
        weights: (B,) w of each example, some above 0.
        right: (B,) r, the share of each example's labels that are answered rightly.
    """
    w = weights / weights.max()
    return float(w @ right) / float(w @ np.ones(len(w)))


def right_labels(objective: Objective, outputs: Tensor, positions: Ints) -> tuple[Tensor, Tensor] | None:
    """Which labels (B, …) have the largest output or, where each output says yes or no, lie on its side; and which are
    not to be ignored. None where targets are numbers, or a function of the user's takes them."""
    labels = labels_of(objective, positions)
    if says_yes_or_no(objective, outputs, labels):
        edge = 0.5 if objective.kind.takes == "probabilities" else 0.0
        answers = outputs.reshape(labels.shape)
        hits = ((answers > edge) == (labels > 0.5)) & ~answers.isnan()  # which is below every edge
        return hits, torch.ones_like(hits)
    dim = class_dimension(objective, outputs, labels)
    if dim is None:
        return None
    outputs = outputs.flatten(1) if labels.ndim == 1 else outputs
    labelled = labels != IGNORED
    # The largest of numbers with a NaN is the NaN, wherever it is: a run that diverged has no right answers.
    return (outputs.argmax(dim) == labels) & labelled & ~outputs.isnan().any(dim), labelled


def labels_of(objective: Objective, positions: Ints) -> Tensor:
    """The labels (B, …) at some positions, on the device; of probabilities that are one-hot rows, the class of each."""
    labels = marked(torch.as_tensor(objective.source.read_targets(positions)), objective.kind)
    # A source whose rows are all one-hot has their classes as labels, and otherwise none.
    if objective.kind.dense == "of classes" and labels.is_floating_point() and labels.ndim == 2:
        own = torch.as_tensor(objective.source.labels[positions])
        inside = bool(((own >= 0) & (own < labels.shape[1])).all()) and bool(objective.source.labels.any())
        if inside and bool((labels.gather(1, own[:, None]) == 1).all()):
            labels = own
    return labels.to(objective.device)


def says_yes_or_no(objective: Objective, outputs: Tensor, labels: Tensor) -> bool:
    """Whether each output says yes or no to a label of its own."""
    return objective.kind.dense == "of each" and outputs.numel() // len(outputs) == labels.numel() // len(
        labels
    )


def class_dimension(objective: Objective, outputs: Tensor, labels: Tensor) -> int | None:
    """The dimension of the outputs (B, C, …) or (B, L, C) that runs over the classes of labels (B, …)."""
    if objective.kind.classes is None or labels.is_floating_point() or outputs.ndim < labels.ndim + 1:
        return None
    if labels.ndim == 1 and outputs[0].numel() == outputs.shape[1] > 1:
        return 1
    if outputs.ndim != labels.ndim + 1:
        return None
    if objective.kind.of_tokens is not None and outputs.shape[:-1] == labels.shape:
        return outputs.ndim - 1
    return (
        1 if (outputs.shape[0], *outputs.shape[2:]) == tuple(labels.shape) and outputs.shape[1] > 1 else None
    )

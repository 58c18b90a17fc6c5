"""The share of labels that a model gets right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.examples import IGNORED
from opsigcli.runs.right_answers import labels_of, right_labels

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.objective.base import Objective


def accuracy(objective: Objective) -> float | None:
    """The share of labelled entries that ``right_labels`` finds right, or, for losses that do not say what outputs are,
    whose largest output, or side of 1/2, is that of the label.

    ``Σ_p [argmax_c z_pc = y_p] / P`` over the examples' own labels, the tokens of sequences or the places of maps, of
    which those to be ignored are left out.

    Returns:
        None where targets are numbers.
    """
    import torch

    right = labelled = 0
    objective.settle()
    with torch.inference_mode():
        for at in range(0, objective.n, objective.batch_size):
            rows = objective.counted[at : at + objective.batch_size]
            outputs = objective.model(objective.batch(rows)[0])
            found = right_labels(objective, outputs, rows)
            if (
                found is None
                and (found := _of_another_loss(objective, outputs, labels_of(objective, rows))) is None
            ):
                return None
            right, labelled = right + int(found[0].sum()), labelled + int(found[1].sum())
    return right / labelled


def _of_another_loss(objective: Objective, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
    """The same where the loss does not say what its outputs are: one of mean squares, or a function of the user's."""
    if labels.is_floating_point():
        return None
    if outputs.numel() == labels.numel():
        named = (outputs.reshape(labels.shape) > 0.5).long()
    else:
        named = outputs.argmax(dim=-1 if objective.outputs_per_token else 1)
    if named.shape != labels.shape:
        return None
    return named == labels, labels != IGNORED

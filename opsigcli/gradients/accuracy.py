"""The share of labels that a model gets right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.examples import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.objective.base import Objective

# Losses of one output each, of which 0 is as likely a yes as a no; others put out 1/2 there.
_OF_LOGITS = ("bce", "sigmoid_focal")


def accuracy(objective: Objective) -> float | None:
    """The share of labelled entries whose largest output is their label's; with one output, that lie on its side.

    ``Σ_p [argmax_c z_pc = y_p] / P`` over the examples' own labels, the tokens of sequences or the places of maps, of
    which those to be ignored are left out.

    Returns:
        None where targets are numbers.
    """
    import torch

    from opsigcli.objective.counting import marked

    right = labelled = 0
    objective.settle()
    with torch.inference_mode():
        for at in range(0, objective.n, objective.batch_size):
            rows = objective.counted[at : at + objective.batch_size]
            targets = marked(torch.as_tensor(objective.source.read_targets(rows)), objective.kind)
            if targets.is_floating_point():
                return None
            found = _said(objective, objective.model(objective.batch(rows)[0]).cpu(), targets)
            right += int((found == targets).sum())
            labelled += int((targets != IGNORED).sum())
    return right / labelled


def _said(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """The label that the model names for each entry, in the targets' shape."""
    if outputs.numel() == targets.numel():
        edge = 0.0 if objective.loss.partition("?")[0].strip() in _OF_LOGITS else 0.5
        return (outputs.reshape(targets.shape) > edge).long()
    return outputs.argmax(dim=-1 if objective.outputs_per_token else 1)

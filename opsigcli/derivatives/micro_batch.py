"""How many examples pass at a time, so that derivatives keep to a bound on memory whatever a model puts out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opsigcli.derivatives.double_backward import count_saved, twice_differentiable_gradient
from opsigcli.objective.base import Objective

IN_FLIGHT = (
    1 << 29
)  # bytes that the derivatives of one micro-batch may take; on a GPU, an eighth of its memory
# A derivative takes, beside the graph it goes through, up to twice the bytes that the graph keeps: 1.1 (MLP) to 2.1
# (ResNet, GPT) were measured.
BESIDE_GRAPH = 2.0
PROBED = (2, 4)  # examples


def in_flight(device: torch.device) -> int:
    """Bytes that one micro-batch may take."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 8
    return IN_FLIGHT


def fit_micro_batch(
    objective: Objective, variables: Sequence[Tensor], *, twice: bool = True, times: int = 1
) -> str:
    """Lower the objective's batch size until the derivatives of a batch fit ``in_flight``; one example at least.

    The bytes that autograd keeps are counted at a few examples, so that an example has what it takes, whatever that
    comes from: activations, or the logits of a language model, context times vocabulary for each. Where statistics of
    the batch couple the examples, or the model fails, nothing is changed.

    Args:
        objective: with weights loaded; its batch size is the most.
        variables: that are differentiated by.
        twice: for Hessian-vector products; else for a gradient.
        times: how many times ``in_flight`` a batch may take.

    Returns:
        That one example takes more, in words; "" where it fits.
    """
    most = objective.batch_size
    if objective.batch_statistics or most == 1:
        return ""
    room = times * in_flight(objective.device) / (1 + BESIDE_GRAPH)
    each: float = _graph_bytes(objective, variables, 1, twice)
    if each * max(PROBED) <= room and objective.n > max(PROBED):  # else one example says enough
        few, more = (_graph_bytes(objective, variables, count, twice) for count in PROBED)
        each = max((more - few) / (PROBED[1] - PROBED[0]), 1)
    objective.batch_size = max(1, min(most, int(room / max(each, 1))))
    if each <= room:
        return ""
    needed, allowed = each * (1 + BESIDE_GRAPH) / (1 << 30), times * in_flight(objective.device) / (1 << 30)
    return (
        f"one example takes about {needed:.2g} GiB for derivatives, and a batch is to take {allowed:.2g}: memory is "
        "as large as that asks for; shorter sequences, or a smaller vocabulary, take less"
    )


def _graph_bytes(objective: Objective, variables: Sequence[Tensor], count: int, twice: bool) -> int:
    """Bytes that autograd keeps for so many examples."""
    inputs, targets = objective.batch(objective.counted[:count])
    with torch.enable_grad(), count_saved(objective.parameters) as counted:
        if twice:
            kept: object = twice_differentiable_gradient(objective, variables, inputs, targets, count)
        else:
            kept = objective.loss_fn(objective.outputs(inputs), targets).sum()
        found = counted()
        del kept
    return found

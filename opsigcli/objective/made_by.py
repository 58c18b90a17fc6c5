"""Which operation the outputs of a model come from: the graph that autograd keeps says so, whatever their values."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

# Operations that only lay numbers out anew, or convert them; what is before them is what the outputs are.
_CARRIES = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Select", "Slice", "Permute", "Transpose", "T",
    "ToCopy", "Clone", "Expand", "Clamp", "Contiguous",
)  # fmt: skip
_KINDS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}


def made_by(model: nn.Module, inputs: Tensor) -> str:
    """``softmax``, ``sigmoid`` or ``log_softmax`` where outputs come from one of them; "" from anything else.

    Args:
        model: any, in eval mode.
        inputs: (B, …) that are no inference tensors.
    """
    with (
        torch.enable_grad(),
        contextlib.suppress(RuntimeError),
    ):  # a model that bears no gradients says nothing
        node: Any = getattr(model(inputs), "grad_fn", None)
        while node is not None:
            name = type(node).__name__.rstrip("0123456789").removesuffix("Backward")
            if name in _KINDS:
                return _KINDS[name]
            before = [one for one, _ in node.next_functions if one is not None]
            if name.lstrip("_") not in _CARRIES or len(before) != 1:
                return ""
            node = before[0]
    return ""

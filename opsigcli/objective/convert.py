"""A model on a device, in one floating type."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opsigcli.errors import ObjectiveError


def convert(model: nn.Module, device: str | torch.device, dtype: torch.dtype) -> nn.Module:
    """The model on a device, its floating numbers of one type; complex buffers stay complex.

    Embeddings with sparse gradients (for ``SparseAdam``) have the same ones densely: sparse ones can be neither put
    beside others in a vector nor differentiated again.

    Raises:
        ObjectiveError: a parameter is complex: vectors over parameters are real.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise ObjectiveError(
                f"expected real parameters, found {parameter.dtype} in {name!r} {tuple(parameter.shape)}",
                "keep its real and imaginary parts as one real parameter, torch.view_as_real(p), and take "
                "torch.view_as_complex of it in forward; checkpoints convert with torch.view_as_real",
            )
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
    wide = torch.complex128 if dtype is torch.float64 else torch.complex64

    def moved(tensor: Tensor) -> Tensor:
        kind = dtype if tensor.is_floating_point() else wide if tensor.is_complex() else tensor.dtype
        return tensor.to(device, kind)

    converted: nn.Module = model._apply(moved)  # type: ignore[no-untyped-call]
    return converted

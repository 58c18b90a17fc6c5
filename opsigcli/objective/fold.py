"""BatchNorm in eval mode is an affine map: fold it into the convolution or linear layer before it."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from opsigcli.objective.module_caches import clear_caches

_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Folded:
    """A model without the BatchNorm layers that follow a convolution or linear layer directly.

    ``y = γ (Wx + b − μ) / √(σ² + ε) + β`` is ``W'x + b'`` with ``s = γ / √(σ² + ε)``, ``W' = sW`` and
    ``b' = s(b − μ) + β``. All other layers are the model's own; ``refresh`` follows a change of its weights.

    Args:
        model: in eval mode.

    Raises:
        ValueError: nothing can be folded, or the model's forward pass cannot be traced.
    """

    def __init__(self, model: nn.Module) -> None:
        clear_caches(model)  # kept values would be constants of the graph
        try:
            graph = fx.Tracer().trace(model)
        except Exception as error:  # whatever a forward pass does that tracing does not know
            raise ValueError(f"the forward pass cannot be traced: {error}") from error
        finally:
            clear_caches(model)  # and values of the graph be kept
        self.module = fx.GraphModule(model, graph)
        self._pairs = [self._fold(model, first, norm) for first, norm in _foldable(model, graph)]
        if not self._pairs:
            raise ValueError("no BatchNorm follows a convolution or linear layer")
        self.module.graph.lint()
        self.module.recompile()
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights that the model has now."""
        for layer, norm, merged in self._pairs:
            scale = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                scale = scale * norm.weight
            bias = scale * ((0 if layer.bias is None else layer.bias) - norm.running_mean)
            merged.weight.copy_(layer.weight * scale.view(-1, *[1] * (layer.weight.ndim - 1)))
            merged.bias.copy_(bias if norm.bias is None else bias + norm.bias)

    @property
    def norms(self) -> list[nn.Module]:
        """The BatchNorms that are left out."""
        return [norm for _, norm, _ in self._pairs]

    @property
    def weights(self) -> int:
        """Numbers that ``refresh`` computes."""
        return sum(merged.weight.numel() for *_, merged in self._pairs)

    def __call__(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.module(inputs)
        return found

    def _fold(self, model: nn.Module, first: fx.Node, second: fx.Node) -> tuple[Any, Any, Any]:
        layer: Any = model.get_submodule(str(first.target))
        norm: Any = model.get_submodule(str(second.target))
        merged = copy.deepcopy(layer)
        if merged.bias is None:
            merged.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        parent, _, name = str(first.target).rpartition(".")
        setattr(self.module.get_submodule(parent), name, merged)
        second.replace_all_uses_with(first)
        self.module.graph.erase_node(second)
        return layer, norm, merged


def _foldable(model: nn.Module, graph: fx.Graph) -> list[tuple[fx.Node, fx.Node]]:
    """Layers that are used once and whose only reader is a BatchNorm with running statistics."""
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or calls[node.target] != 1 or len(node.args) != 1 or node.kwargs:
            continue
        norm, before = model.get_submodule(str(node.target)), node.args[0]
        if type(norm) not in _NORMS or norm.running_mean is None or not isinstance(before, fx.Node):
            continue
        once = before.op == "call_module" and calls[before.target] == 1 and len(before.users) == 1
        if once and type(model.get_submodule(str(before.target))) in _LINEAR:
            found.append((before, node))
    return found

"""Per-example gradients of large layers, sketched from their factors: what went in, and what came back at the output.

The weight gradient of a linear or convolutional layer is a sum over places p (pixels, tokens) of outer products
``δ_p a_pᵀ``. Neither the product nor its sum is ever made: a count sketch of an outer product is the circular
convolution of the count sketches of its factors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from opsigcli.derivatives.count_sketch import CountSketch, ScatteredSketch
from opsigcli.objective.base import Objective

TOLERANCE = 1e-3  # of its norm: how far a layer's gradient may be from autograd's
PLACES = 64  # places whose Fourier transforms are held at once, times the examples of a batch


class Factors(NamedTuple):
    """What a layer saw: for B examples and P places, inputs (B, P, D) and output gradients (B, P, C)."""

    inputs: Tensor
    outputs: Tensor

    def weight_gradient(self) -> Tensor:
        """``Σ_p δ_p a_pᵀ`` of every example, (B, C, D)."""
        gradient: Tensor = self.outputs.transpose(1, 2) @ self.inputs
        return gradient

    def squared_norms(self) -> Tensor:
        """Squared norm of every example's weight gradient, (B,) float64, by the cheaper of two ways."""
        _, places, width = self.inputs.shape
        channels = self.outputs.shape[2]
        if places * (width + channels) < width * channels:  # places meet places
            of_inputs = self.inputs @ self.inputs.transpose(1, 2)
            products = of_inputs * (self.outputs @ self.outputs.transpose(1, 2))
            total: Tensor = products.flatten(1).sum(dim=1, dtype=torch.float64)
            return total
        norms: Tensor = torch.linalg.vector_norm(self.weight_gradient().flatten(1), dim=1)
        return norms.double().square()


class FactoredLayers:
    """The linear and convolutional layers of a model whose weight gradients have factors.

    Those are layers that are called once in a forward pass, that alone have their weight, and whose gradients for two
    examples are found to be autograd's.

    Args:
        objective: with weights loaded.
        dimensions: k.
        seed: of the hashes.
    """

    def __init__(self, objective: Objective, dimensions: int, seed: int) -> None:
        self._objective, self._k = objective, dimensions
        self.bytes_each = 0  # what an example's factors take
        self._layers = _candidates(objective)
        try:
            self._layers = self._true_ones()
        except Exception:  # whatever a model does that cannot be watched
            self._layers = {}
        rng = np.random.default_rng([seed, 1])
        self._hashes = {}
        for name, layer in self._layers.items():
            weight = layer.weight.detach()
            # Neighbours must not stay neighbours on both sides: (i, j) and (i + 1, j − 1) would always meet.
            of_outputs = ScatteredSketch(len(weight), dimensions, rng, weight)
            self._hashes[name] = of_outputs, CountSketch([weight[0].numel()], dimensions, rng, weight)

    @property
    def weights(self) -> frozenset[str]:
        """Names of the parameters that are taken care of here."""
        return frozenset(f"{name}.weight" if name else "weight" for name in self._layers)

    def sketches(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sketches (B, k) of these layers' gradients, added up, and their squared norms (B,) float64."""
        count, device, dtype = len(inputs), self._objective.device, self._objective.dtype
        squares = torch.zeros(count, dtype=torch.float64, device=device)
        spectrum = torch.zeros(count, self._k // 2 + 1, dtype=dtype, device=device) * 1j
        if not self._layers:
            return torch.zeros(count, self._k, dtype=dtype, device=device), squares
        for name, factors in self._factors(inputs, targets):
            of_outputs, of_inputs = self._hashes[name]
            for at in range(0, factors.inputs.shape[1], PLACES):
                part = slice(at, at + PLACES)
                first = torch.fft.rfft(of_inputs([factors.inputs[:, part]]))
                second = torch.fft.rfft(of_outputs(factors.outputs[:, part]))
                spectrum += (first * second).sum(dim=1)
            squares += factors.squared_norms()
        return torch.fft.irfft(spectrum, n=self._k), squares

    def _factors(self, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Factors]]:
        with _watching(self._layers) as seen, torch.enable_grad():
            loss = self._objective.loss_fn(self._objective.outputs(inputs), targets).sum()
        found = torch.autograd.grad(loss, [output for _, output in seen.values()], allow_unused=True)
        for (name, (went_in, output)), came_back in zip(seen.items(), found, strict=True):
            gradient = torch.zeros_like(output) if came_back is None else came_back
            yield name, _factors(self._layers[name], went_in.detach(), gradient)

    def _true_ones(self) -> dict[str, Layer]:
        """The layers that are called once, and whose gradients for the first two examples are autograd's.

        Two, as others than examples may be counted first: windows, places, or a table that all examples share.
        """
        inputs, targets = self._objective.batch(self._objective.counted[:2])
        calls: Counter[str] = Counter()
        hooks = [
            layer.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
            for name, layer in self._layers.items()
        ]
        try:
            losses = self._objective.loss_fn(self._objective.outputs(inputs), targets)
        finally:
            for hook in hooks:
                hook.remove()
        self._layers = {name: layer for name, layer in self._layers.items() if calls[name] == 1}
        if not self._layers:
            return {}
        weights = [layer.weight for layer in self._layers.values()]
        rows = [torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in losses]
        expected = dict(zip(self._layers, zip(*rows, strict=True), strict=True))
        true = {}
        for name, factors in self._factors(inputs, targets):
            gradients = [g for g in expected[name] if g is not None]
            if not len(gradients) == len(factors.inputs) == len(inputs):
                continue
            single = torch.stack(gradients)
            gap, size = factors.weight_gradient().view_as(single) - single, float(single.norm())
            if size and float(gap.norm()) <= TOLERANCE * size:  # nothing can be told from a gradient of 0
                true[name] = self._layers[name]
                self.bytes_each += (factors.inputs.nbytes + factors.outputs.nbytes) // len(inputs)
        return true


Layer = nn.Linear | nn.Conv2d


def _candidates(objective: Objective) -> dict[str, Layer]:
    """Layers by name that may have factors."""
    owners = Counter(id(p) for module in objective.model.modules() for p in module.parameters(recurse=False))
    return {
        name: module
        for name, module in objective.model.named_modules()
        if type(module) in (nn.Linear, nn.Conv2d)
        and isinstance(module, Layer)
        and module.weight.requires_grad
        and owners[id(module.weight)] == 1
        and (
            isinstance(module, nn.Linear)
            or (module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str))
        )
    }


@contextmanager
def _watching(layers: dict[str, Layer]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Inputs and outputs of the layers, in the order of their calls."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[..., Tensor]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen[name] = inputs[0], output
            return output.clone()  # what follows may work in place

        return keep

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in hooks:
            handle.remove()


def _factors(layer: Layer, went_in: Tensor, came_back: Tensor) -> Factors:
    if isinstance(layer, nn.Conv2d):
        padding = layer.padding
        assert not isinstance(padding, str), "layers with named padding are left to others"
        places = nn.functional.unfold(went_in, layer.kernel_size, layer.dilation, padding, layer.stride)
        return Factors(places.transpose(1, 2), came_back.flatten(2).transpose(1, 2))
    count = len(went_in)
    return Factors(
        went_in.reshape(count, -1, went_in.shape[-1]), came_back.reshape(count, -1, came_back.shape[-1])
    )

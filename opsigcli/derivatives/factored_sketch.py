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
from opsigcli.derivatives.small_gradients import NORMS, small_gradients
from opsigcli.objective.base import Objective

TOLERANCE = 1e-3  # of its norm: how far a layer's gradient may be from autograd's
PLACES = 64  # places whose Fourier transforms are held at once, times the examples of a batch
# Weights of a layer up to which its gradient is made: to sketch it costs less than its factors then.
MADE = 1 << 16


class Factors(NamedTuple):
    """What a layer saw: for B examples and P places, inputs (B, P, D) and output gradients (B, P, C).

    Of a convolution, D has the window's pixels one after the other, and each with its channels: they lie so in memory.
    """

    inputs: Tensor
    outputs: Tensor
    window: int = 1  # pixels of it

    def products(self) -> Tensor:
        """``Σ_p δ_p a_pᵀ`` of every example, (B, C, D)."""
        found: Tensor = self.outputs.transpose(1, 2) @ self.inputs
        return found

    def weight_gradient(self) -> Tensor:
        """The same in the order of the parameter, (B, C, D)."""
        found = self.products()
        by_pixel = found.reshape(*found.shape[:2], self.window, -1)
        return by_pixel.transpose(2, 3).flatten(2)

    @property
    def by_places(self) -> bool:
        """Whether the factors are smaller than the gradient, so that it need not be made."""
        _, places, width = self.inputs.shape
        channels = self.outputs.shape[2]
        return places * (width + channels) < width * channels

    def squared_norms(self) -> Tensor:
        """Squared norm of every example's weight gradient, (B,) float64, by the cheaper of two ways."""
        if self.by_places:  # places meet places
            of_inputs = self.inputs @ self.inputs.transpose(1, 2)
            products = of_inputs * (self.outputs @ self.outputs.transpose(1, 2))
            total: Tensor = products.flatten(1).sum(dim=1, dtype=torch.float64)
            return total
        return _squared_norms(self.products())


def _squared_norms(gradients: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
    return norms.double().square()


class Seen(NamedTuple):
    """Gradients of B examples, of all that is watched."""

    sketch: Tensor  # (B, k) of the factored weights, added up
    squares: Tensor  # (B,) float64, their squared norms
    others: dict[str, Tensor]  # gradients (B, n) of the other parameters watched, by name
    outputs: Tensor  # (B, …) with respect to the model's outputs


class FactoredLayers:
    """Layers whose per-example gradients follow from what goes in and what comes back in one pass over a batch.

    The weights of linear and convolutional layers are sketched from their factors; their biases, and the parameters of
    norm layers, are small enough to be made. Watched is what is called once in a forward pass, alone has its
    parameters, and gives gradients for two examples that are found to be autograd's.

    Args:
        objective: with weights loaded.
        dimensions: k.
        seed: of the hashes.
        factored: weights are sketched from their factors; else they are made and are among the others.
    """

    def __init__(self, objective: Objective, dimensions: int, seed: int, *, factored: bool = True) -> None:
        self._objective, self._k, self._factored = objective, dimensions, factored
        self.bytes_each = 0  # what an example's factors take
        self._modules = _candidates(objective)
        try:
            self.watched = self._true_ones()
        except Exception:  # whatever a model does that cannot be watched
            self.watched, self._modules = frozenset[str](), {}
        rng = np.random.default_rng([seed, 1])
        self._hashes: dict[str, tuple[ScatteredSketch, CountSketch]] = {}
        self._whole: dict[str, CountSketch] = {}
        for name, module in self._modules.items():
            if not isinstance(module, Layer) or f"{name}.weight".lstrip(".") not in self.weights:
                continue
            weight = module.weight.detach()
            if weight.numel() <= MADE:
                self._whole[name] = CountSketch([weight.numel()], dimensions, rng, weight)
                continue
            # Neighbours must not stay neighbours on both sides: (i, j) and (i + 1, j − 1) would always meet.
            of_outputs = ScatteredSketch(len(weight), dimensions, rng, weight)
            self._hashes[name] = of_outputs, CountSketch([weight[0].numel()], dimensions, rng, weight)

    @property
    def weights(self) -> frozenset[str]:
        """Names of the parameters that are sketched from their factors."""
        of_layers = {f"{n}.weight".lstrip(".") for n, m in self._modules.items() if isinstance(m, Layer)}
        return self.watched & of_layers if self._factored else frozenset()

    def __call__(self, inputs: Tensor, targets: Tensor) -> Seen:
        """All that is watched, for a batch of examples."""
        count, device, dtype = len(inputs), self._objective.device, self._objective.dtype
        squares = torch.zeros(count, dtype=torch.float64, device=device)
        sketch = torch.zeros(count, self._k, dtype=dtype, device=device)
        spectrum = torch.zeros(count, self._k // 2 + 1, dtype=dtype, device=device) * 1j
        seen, outputs = self._watch(inputs, targets)
        others = {}
        for name, went_in, came_back in seen:
            module, prefix = self._modules[name], f"{name}." if name else ""
            for own, gradient in small_gradients(module, went_in, came_back).items():
                if prefix + own in self.watched:
                    others[prefix + own] = gradient
            if not isinstance(module, Layer) or f"{prefix}weight" not in self.watched:
                continue
            factors = _factors(module, went_in, came_back)
            if not self._factored:
                others[f"{prefix}weight"] = factors.weight_gradient().flatten(1)
                continue
            if name in self._whole:
                gradient = factors.products()
                squares += _squared_norms(gradient)
                sketch += self._whole[name]([gradient.flatten(1)])
                continue
            of_outputs, of_inputs = self._hashes[name]
            if factors.by_places:
                for at in range(0, factors.inputs.shape[1], PLACES):
                    part = slice(at, at + PLACES)
                    first = torch.fft.rfft(of_inputs([factors.inputs[:, part]]))
                    second = torch.fft.rfft(of_outputs(factors.outputs[:, part]))
                    spectrum += (first * second).sum(dim=1)
                squares += factors.squared_norms()
            else:  # its gradient is smaller than its factors: each row is sketched, and turned to where its output goes
                gradient = factors.products()
                squares += _squared_norms(gradient)
                sketch += of_outputs.turned(of_inputs([gradient]))
        return Seen(sketch + torch.fft.irfft(spectrum, n=self._k), squares, others, outputs)

    def _watch(self, inputs: Tensor, targets: Tensor) -> tuple[list[tuple[str, Tensor, Tensor]], Tensor]:
        """Names, inputs and output gradients of the modules watched; and the gradient at the model's outputs."""
        with _watching(self._modules) as seen, torch.enable_grad():
            outputs = self._objective.outputs(inputs)
            loss = self._objective.loss_fn(outputs, targets).sum()
        found = torch.autograd.grad(loss, [*(out for _, out in seen.values()), outputs], allow_unused=True)
        return [
            (name, went_in.detach(), torch.zeros_like(out) if came_back is None else came_back)
            for (name, (went_in, out)), came_back in zip(seen.items(), found[:-1], strict=True)
        ], torch.zeros_like(outputs) if found[-1] is None else found[-1]

    def _true_ones(self) -> frozenset[str]:
        """Names of the parameters of modules called once whose gradients for the first two examples are autograd's.

        Two, as others than examples may be counted first: windows, places, or a table that all examples share.
        """
        inputs, targets = self._objective.batch(self._objective.counted[:2])
        calls: Counter[str] = Counter()
        hooks = [
            module.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
            for name, module in self._modules.items()
        ]
        try:
            losses = self._objective.loss_fn(self._objective.outputs(inputs), targets)
        finally:
            for hook in hooks:
                hook.remove()
        self._modules = {name: module for name, module in self._modules.items() if calls[name] == 1}
        parameters = {
            f"{name}.{own}".lstrip("."): p
            for name, module in self._modules.items()
            for own, p in module.named_parameters(recurse=False)
            if p.requires_grad
        }
        if not parameters:
            return frozenset()
        of = list(parameters.values())
        rows = [torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True) for loss in losses]
        expected = dict(zip(parameters, zip(*rows, strict=True), strict=True))
        true = set()
        for name, went_in, came_back in self._watch(inputs, targets)[0]:
            module, prefix = self._modules[name], f"{name}." if name else ""
            found = small_gradients(module, went_in, came_back)
            if isinstance(module, Layer):
                factors = _factors(module, went_in, came_back)
                found["weight"] = factors.weight_gradient()
                self.bytes_each += (factors.inputs.nbytes + factors.outputs.nbytes) // len(inputs)
            true |= {prefix + own for own, g in found.items() if _agrees(g, expected.get(prefix + own, ()))}
        self._modules = {
            name: module
            for name, module in self._modules.items()
            if any(f"{name}.{own}".lstrip(".") in true for own, _ in module.named_parameters(recurse=False))
        }
        return frozenset(true)


def _agrees(found: Tensor, rows: tuple[Tensor | None, ...]) -> bool:
    """Whether gradients of examples are those of autograd; of a gradient of 0 nothing can be told."""
    exact = [row for row in rows if row is not None]
    if not exact or not len(exact) == len(rows) == len(found):
        return False
    single = torch.stack(exact).flatten(1)
    found = found.flatten(1)
    if found.shape != single.shape:
        return False
    gap, size = float((found - single).norm()), float(single.norm())
    return size > 0 and gap <= TOLERANCE * size


Layer = nn.Linear | nn.Conv2d


def _candidates(objective: Objective) -> dict[str, nn.Module]:
    """Modules by name that may be watched: linear and convolutional layers, and norm layers."""
    owners = Counter(id(p) for module in objective.model.modules() for p in module.parameters(recurse=False))
    return {
        name: module
        for name, module in objective.model.named_modules()
        if (_has_factors(module) or isinstance(module, NORMS))
        and any(p.requires_grad for p in module.parameters(recurse=False))
        and all(owners[id(p)] == 1 for p in module.parameters(recurse=False))
    }


def _has_factors(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) is nn.Linear


@contextmanager
def _watching(layers: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
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
        outputs = came_back.flatten(2).transpose(1, 2)
        return Factors(_windows(layer, went_in), outputs, layer.kernel_size[0] * layer.kernel_size[1])
    count = len(went_in)
    return Factors(
        went_in.reshape(count, -1, went_in.shape[-1]), came_back.reshape(count, -1, came_back.shape[-1])
    )


def _windows(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """What every place of a convolution's output sees, (B, P, D): ``unfold``, at a third to a tenth of its time."""
    assert not isinstance(layer.padding, str), "layers with named padding are left to others"
    (down, right), (height, width) = layer.padding, layer.kernel_size
    count, channels, rows, columns = images.shape
    padded = images.new_zeros(count, rows + 2 * down, columns + 2 * right, channels)
    padded[:, down : down + rows, right : right + columns] = images.permute(0, 2, 3, 1)
    size = [
        (whole - dilation * (window - 1) - 1) // stride + 1
        for whole, dilation, window, stride in zip(
            padded.shape[1:3], layer.dilation, layer.kernel_size, layer.stride, strict=True
        )
    ]
    image, row, column, _ = padded.stride()
    shape = (count, *size, height, width, channels)
    by_place = row * layer.stride[0], column * layer.stride[1]
    in_window = row * layer.dilation[0], column * layer.dilation[1]
    return padded.as_strided(shape, (image, *by_place, *in_window, 1)).reshape(count, size[0] * size[1], -1)

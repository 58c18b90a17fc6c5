"""Convolutions and frozen BatchNorms written so that their second derivatives are cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from opsigcli.objective.torch_workarounds import by_channel, fixed_affine

CONVOLUTIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}


class Geometry(NamedTuple):
    """How a convolution walks over its input."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def cheap_derivatives() -> TorchFunctionMode:
    """Within this context, convolutions and BatchNorms in eval mode give the same values and derivatives for less.

    A convolution is bilinear: ``y = C(x, w)``, its gradients are ``A(ȳ, w)`` and ``W(ȳ, x)``, bilinear too, and each
    of the three has derivatives that are again one of the three. Autograd's own second derivative of a convolution
    is a longer way round. A BatchNorm with frozen statistics is ``s·x + t`` with ``s = γ / √(σ² + ε)``; after a
    convolution s goes into its weights, ``s·C(x, w) = C(x, s·w)``, and costs next to nothing.
    """
    return _Cheap()


class _Cheap(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.last: _Convolved | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func in CONVOLUTIONS:
            self.last = _convolution(CONVOLUTIONS[func], *args, **given)
            if self.last is not None:
                return self.last.output
        elif func is F.batch_norm:
            found = _batch_norm(self.last, *args, **given)
            if found is not None:
                return found
        return func(*args, **given)


class _Convolved(NamedTuple):
    """A convolution that was made: ``output = values + bias``, ``values = C(input, weight)``."""

    output: Tensor
    values: Tensor
    input: Tensor
    weight: Tensor
    bias: Tensor | None
    geometry: Geometry
    versions: list[int]

    def now(self) -> list[int]:
        """Versions of what it holds, which change when something is written in place."""
        return [t._version for t in (self.output, self.values, self.input, self.weight)]


def _convolution(
    dimensions: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Convolved | None:
    """The convolution, or None for a form that is left to torch."""
    if isinstance(padding, str) or input.ndim != dimensions + 2:
        return None
    walk = [_each(value, dimensions) for value in (stride, padding, dilation)]
    geometry = Geometry(walk[0], walk[1], walk[2], groups)
    # A view: of a leaf, autograd does not say whether it is wanted.
    values: Tensor = _Bilinear.apply(input, weight.view_as(weight), "xw", None, geometry, None)
    output = values if bias is None else values + bias.view(-1, *[1] * dimensions)
    found = _Convolved(output, values, input, weight, bias, geometry, [])
    return found._replace(versions=found.now())


def _each(value: Any, dimensions: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * dimensions if len(numbers) == 1 else numbers


def _batch_norm(last: _Convolved | None, input: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
    found = fixed_affine(*args, **kwargs)
    if found is None:
        return None
    scale, offset = found
    if last is None or input is not last.output or last.versions != last.now():
        return by_channel(input, scale, offset)
    if last.bias is not None:
        offset = offset + last.bias * scale
    shape = (1, -1) + (1,) * (input.ndim - 2)
    values = last.values.detach() * scale.detach().view(shape)
    weight = last.weight * scale.view(-1, *[1] * (last.weight.ndim - 1))
    scaled: Tensor = _Bilinear.apply(last.input, weight, "xw", None, last.geometry, values)
    return scaled + offset.view(shape)


def _wanted(ctx: Any) -> list[bool]:
    """Which of the two derivatives leads to something that was asked for: a block of the Hessian asks for few."""
    nodes = [node for node, _ in ctx.next_functions[:2]]
    return [needed and _runs(node) for needed, node in zip(ctx.needs_input_grad, nodes, strict=False)]


def _runs(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, RuntimeError):  # a leaf: autograd does not say
        return True


class _Bilinear(torch.autograd.Function):
    """One of y, x and w out of the two others: ``y = C(x, w)``, ``x̄ = A(ȳ, w)`` or ``w̄ = W(ȳ, x)``.

    The derivatives of each are the other two. ``names`` says which two are given, ``shape`` is that of the third,
    and ``values`` is the result where it is known already.
    """

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        names: str,
        shape: torch.Size | None,
        geometry: Geometry,
        values: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.names, ctx.geometry = names, geometry
        if values is not None:
            return values
        given = {names[0]: first, names[1]: second}
        if "y" not in given:
            return _forward(given["x"], given["w"], geometry)
        assert shape is not None
        if "x" not in given:
            return _to_input(given["y"], given["w"], shape, geometry)
        return _to_weight(given["y"], given["x"], shape, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        tensors, names, wanted = ctx.saved_tensors, ctx.names, _wanted(ctx)
        (third,) = set("yxw") - set(names)
        found: list[Tensor | None] = [None, None]
        for place, other in ((0, 1), (1, 0)):
            if wanted[place]:
                found[place] = _Bilinear.apply(
                    gradients[0],
                    tensors[other],
                    third + names[other],
                    tensors[place].shape,
                    ctx.geometry,
                    None,
                )
        return (*found, None, None, None, None)


def _forward(x: Tensor, w: Tensor, g: Geometry) -> Tensor:
    output: Tensor = torch.ops.aten.convolution(
        x, w, None, g.stride, g.padding, g.dilation, False, [0] * len(g.stride), g.groups
    )
    return output


def _to_input(y: Tensor, w: Tensor, shape: torch.Size, g: Geometry) -> Tensor:
    """The gradient of ``Σ y · C(x, w)`` with respect to x: a transposed convolution."""
    sizes = zip(shape[2:], y.shape[2:], w.shape[2:], g.stride, g.padding, g.dilation, strict=True)
    beyond = [x - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for x, n, k, s, p, d in sizes]
    output: Tensor = torch.ops.aten.convolution(
        y, w, None, g.stride, g.padding, g.dilation, True, beyond, g.groups
    )
    return output


def _to_weight(y: Tensor, x: Tensor, shape: torch.Size, g: Geometry) -> Tensor:
    """The gradient of ``Σ y · C(x, w)`` with respect to w."""
    empty = y.new_empty(shape)
    output: Tensor = torch.ops.aten.convolution_backward(
        *(y, x, empty, None, g.stride, g.padding, g.dilation, False, [0] * len(g.stride), g.groups),
        [False, True, False],
    )[1]
    return output

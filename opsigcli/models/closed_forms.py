"""The built-ins ``two-layer-linear`` and ``one-axis``, whose training is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.query import flag, numbers
from opsigcli.specs import Spec


class TwoLayerLinear(nn.Module):
    """``ŷ = c (b·x + a z)`` of inputs (x, z), the last of which is the feature that opposing groups share."""

    def __init__(self, size: int, c: float, a: float, b: float, *, aligned: bool) -> None:
        super().__init__()
        direction = torch.ones(size) if aligned else torch.randn(size)
        self.c, self.a = nn.Parameter(torch.tensor([c])), nn.Parameter(torch.tensor([a]))
        self.b = nn.Parameter(b * direction / direction.norm())

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, d + 1) to (B, 1)."""
        out: Tensor = self.c * (inputs[:, :-1] @ self.b[:, None] + self.a * inputs[:, -1:])
        return out


class OneAxis(nn.Module):
    """Logits (w x, 0) of inputs x (B, 1)."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start]) + 1e-3 * torch.randn(1))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 1) to (B, 2).

        Raises:
            ModelError: the inputs are not one number each.
        """
        if inputs.shape[1:] != (1,):
            raise ModelError(
                f"expected one number, found inputs of shape {tuple(inputs.shape[1:])}", "use --data one-axis"
            )
        own = inputs * self.w
        return torch.cat([own, torch.zeros_like(own)], dim=1)


def build_two_layer_linear(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``two-layer-linear?c=1&a=0.8&b=0.6&aligned=false``: the start; b has this length.

    Its direction is that of the seed, or with ``aligned=true`` that of the data's β.

    Raises:
        ModelError: inputs are no vectors of at least two numbers, or the target is not one number.
    """
    _require(spec, len(input_shape) == 1 and input_shape[0] > 1 and outputs == 1, "two-layer-linear")
    spec.only("c", "a", "b", "aligned")
    start = _one(spec, "c", 1.0), _one(spec, "a", 0.8), _one(spec, "b", 0.6)
    return TwoLayerLinear(input_shape[0] - 1, *start, aligned=flag(spec, "aligned", False))


def build_one_axis(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``one-axis?w=0.1``: the start, less or more a thousandth by the seed.

    Raises:
        ModelError: inputs are not one number, or the classes not two.
    """
    _require(spec, input_shape == (1,) and outputs == 2, "one-axis")
    return OneAxis(_one(spec.only("w"), "w", 0.1))


def _one(spec: Spec, key: str, default: float) -> float:
    (value, *_) = numbers(spec, key, (default,))
    return value


def _require(spec: Spec, fits: bool, data: str) -> None:
    if not fits:
        raise ModelError(
            f"expected the data of the same name for {str(spec)!r}, found others", f"use --data {data}"
        )

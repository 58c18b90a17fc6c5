"""The built-in ``resnet``: a small residual network, ResNet-8 as it stands."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.query import choice, integer
from opsigcli.specs import Spec


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=norm == "none")
        self.norm1 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=norm == "none")
        self.norm2 = norm_layer(norm, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=norm == "none"), norm_layer(norm, width)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norm1(self.conv1(inputs)))
        return torch.relu(self.norm2(self.conv2(hidden)) + self.shortcut(inputs))


def norm_layer(norm: str, width: int) -> nn.Module:
    """The norm called ``none``, ``batch`` or ``group`` (the largest number of groups that divides width and 8)."""
    if norm == "batch":
        return nn.BatchNorm2d(width)
    return nn.GroupNorm(math.gcd(8, width), width) if norm == "group" else nn.Identity()


def build_resnet(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``resnet?width=8&blocks=1&norm=batch|group|none``: 2 + 6·blocks layers.

    A 3x3 stem; three stages of ``blocks`` residual blocks with 1, 2 and 4 times ``width`` channels, the second and
    third at half the resolution of the one before; global average pooling; a linear head.

    Raises:
        ModelError: the inputs are no images of at least 4 pixels a side.
    """
    spec.only("width", "blocks", "norm")
    width, blocks = integer(spec, "width", 8), integer(spec, "blocks", 1)
    norm = choice(spec, "norm", "batch", ("none", "batch", "group"))
    require_images(spec, input_shape, 4)
    layers = [nn.Conv2d(input_shape[0], width, 3, padding=1, bias=norm == "none"), norm_layer(norm, width)]
    stages: list[nn.Module] = [*layers, nn.ReLU()]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            wide = width * 2**stage
            stages.append(_Block(channels, wide, 2 if stage and not block else 1, norm))
            channels = wide
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def require_images(spec: Spec, input_shape: tuple[int, ...], smallest: int) -> None:
    """Refuse inputs that are no images of at least ``smallest`` pixels a side.

    Raises:
        ModelError: they are none.
    """
    if len(input_shape) != 3:
        raise ModelError(
            f"expected images (C, H, W) for {str(spec)!r}; the inputs have shape {input_shape}",
            "use --model mlp for inputs that are no images",
        )
    if min(input_shape[1:]) < smallest:
        raise ModelError(
            f"expected images of at least {smallest} pixels a side for {str(spec)!r}; "
            f"the inputs are {input_shape[1]}x{input_shape[2]}",
            "use larger images, or a shallower model",
        )

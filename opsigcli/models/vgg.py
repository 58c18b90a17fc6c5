"""The built-in ``vgg``: pairs of 3x3 convolutions between poolings."""

from __future__ import annotations

from torch import nn

from opsigcli.models.resnet import norm_layer, require_images
from opsigcli.query import choice, integers
from opsigcli.specs import Spec


def build_vgg(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``vgg?widths=16,32,64&norm=none|batch|group``: per width two 3x3 convolutions with ReLU and a max-pooling by 2.

    Then global average pooling and a linear head.

    Raises:
        ModelError: the inputs are no images, or too small for so many stages.
    """
    spec.only("widths", "norm")
    widths = integers(spec, "widths", (16, 32, 64))
    norm = choice(spec, "norm", "none", ("none", "batch", "group"))
    require_images(spec, input_shape, 2 ** len(widths))
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for width in widths:
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none"),
                norm_layer(norm, width),
                nn.ReLU(),
            ]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))

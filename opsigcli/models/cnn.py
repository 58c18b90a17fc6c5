"""The built-in ``cnn``: a small convolutional network."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from opsigcli.errors import ModelError
from opsigcli.models.activations import ACTIVATIONS
from opsigcli.query import choice, integers
from opsigcli.specs import Spec


def build_cnn(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``cnn?widths=16,32,64&norm=none|batch|group&activation=relu|tanh|gelu``.

    One stage per width: 3x3 convolution, norm, activation; average pooling by 2 between stages; global average
    pooling; a linear head. Convolutions have a bias where no norm follows. ``group`` uses the largest number of
    groups that divides both the width and 8.

    Raises:
        ModelError: the inputs are no images, or too small for so many stages.
    """
    spec.only("widths", "norm", "activation")
    widths = integers(spec, "widths", (16, 32, 64))
    norm = choice(spec, "norm", "none", ("none", "batch", "group"))
    activation = ACTIVATIONS[choice(spec, "activation", "relu", tuple(ACTIVATIONS))]
    if len(input_shape) != 3:
        raise ModelError(
            f"expected images (C, H, W) for {str(spec)!r}; the inputs have shape {input_shape}",
            "use --model mlp for inputs that are no images",
        )
    if min(input_shape[1:]) < 2 ** (len(widths) - 1):
        raise ModelError(
            f"expected images of at least {2 ** (len(widths) - 1)} pixels a side for {len(widths)} stages; "
            f"the inputs are {input_shape[1]}x{input_shape[2]}",
            "give fewer widths=",
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = input_shape[0]
    for number, width in enumerate(widths, 1):
        if number > 1:
            layers[f"pool{number - 1}"] = nn.AvgPool2d(2)
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none")
        if norm == "batch":
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
        elif norm == "group":
            layers[f"norm{number}"] = nn.GroupNorm(math.gcd(8, width), width)
        layers[f"activation{number}"] = activation()
        channels = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(channels, outputs)
    return nn.Sequential(layers)

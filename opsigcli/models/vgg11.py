"""The built-in ``vgg11``: VGG-11 for small pictures, at any width."""

from __future__ import annotations

from torch import nn

from opsigcli.models.resnet import norm_layer, require_images
from opsigcli.query import choice, integer
from opsigcli.specs import Spec

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels of each convolution in units of the width


def build_vgg11(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``vgg11?width=64&norm=none|batch|group``: eight 3x3 convolutions with ReLU, a max-pooling by 2 after each stage.

    Then global average pooling and one linear head, as for CIFAR-10, in place of the three of the paper.

    Reference: Simonyan & Zisserman 2015, Very Deep Convolutional Networks, table 1, column A.

    Raises:
        ModelError: the inputs are no images of at least 32 pixels a side.
    """
    spec.only("width", "norm")
    width, norm = integer(spec, "width", 64), choice(spec, "norm", "none", ("none", "batch", "group"))
    require_images(spec, input_shape, 2 ** len(STAGES))
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for stage in STAGES:
        for times in stage:
            layers += [
                nn.Conv2d(channels, times * width, 3, padding=1, bias=norm == "none"),
                norm_layer(norm, times * width),
                nn.ReLU(),
            ]
            channels = times * width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))

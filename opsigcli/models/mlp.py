"""The built-in ``mlp``: fully connected layers."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from opsigcli.models.activations import ACTIVATIONS
from opsigcli.query import choice, flag, integers
from opsigcli.specs import Spec


def build_mlp(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``mlp?hidden=200,200&activation=tanh|relu|gelu&bias=true``: flatten, hidden layers, a linear head."""
    spec.only("hidden", "activation", "bias")
    hidden = integers(spec, "hidden", (200, 200))
    activation = ACTIVATIONS[choice(spec, "activation", "tanh", tuple(ACTIVATIONS))]
    bias = flag(spec, "bias", True)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(input_shape)
    for number, units in enumerate(hidden, 1):
        layers[f"hidden{number}"] = nn.Linear(width, units, bias=bias)
        layers[f"activation{number}"] = activation()
        width = units
    layers["head"] = nn.Linear(width, outputs, bias=bias)
    return nn.Sequential(layers)

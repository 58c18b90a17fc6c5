"""What an installed package could add to the tables of opsig."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from opsigcli.datasets.planted import Planted
from opsigcli.examples import ExampleSource
from opsigcli.objective.losses.base import Loss, one_hot_classes, one_per_output


def plugin_model(spec: Any, input_shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    """A model of a plug-in."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(input_shape), outputs))


def plugin_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A loss of a plug-in."""
    return outputs.square().sum(1) + targets


class Shifted(ExampleSource):
    """The least that a source has to define: planted images, a little brighter."""

    def __init__(self, n: int) -> None:
        self._planted = Planted("img2", n)
        self.spec, self.fingerprint, self.transform = f"toy?n={n}", f"toy {n}", {}
        self.ids, self.labels = self._planted.ids + 1000, self._planted.labels
        self.input_shape = self._planted.input_shape

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The inputs."""
        return self._planted.read(positions) + np.float32(0.1)


def toy_source(spec: Any) -> ExampleSource:
    """Open ``toy?n=300``."""
    return Shifted(int(spec.only("n").options.get("n", 300)))


def toy_model(spec: Any, input_shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    """``toy?width=16``: one hidden layer."""
    width = int(spec.only("width").options.get("width", 16))
    size = math.prod(input_shape)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(size, width), torch.nn.Tanh(), torch.nn.Linear(width, outputs)
    )


def pseudo_huber(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``mean_c √(1 + (z_c − y_c)²) − 1``."""
    return ((1 + (outputs - one_per_output(outputs, targets)).square()).sqrt() - 1).mean(1)


TOY_LOSS = Loss(pseudo_huber, classes=one_hot_classes)

"""Weights whose last layer is for another number of classes than the data have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import ModelError
from opsigcli.examples import ExampleSource
from opsigcli.look_records import LISTED

if TYPE_CHECKING:
    from torch import Tensor, nn


def of_other_head(
    error: ModelError, state: Mapping[str, Tensor], model: nn.Module, source: ExampleSource
) -> ModelError:
    """The error of weights that do not fit, with what a last layer for more or fewer classes suggests.

    Args:
        error: as it was raised.
        state: the weights.
        model: that they do not fit.
        source: the examples that it was built for.

    Returns:
        The same error where no layer is for another number of outputs alone, or targets are no classes.
    """
    needed = source.outputs
    found = {
        value.shape[0]
        for key, own in model.state_dict().items()
        for name, value in state.items()
        if f".{name}".endswith(f".{key}") or f".{key}".endswith(f".{name}")
        if own.ndim == value.ndim > 0 and own.shape[0] == needed != value.shape[0]
        if own.shape[1:] == value.shape[1:]
    }
    if len(found) != 1 or source.read_targets(np.arange(1)).dtype.kind == "f":
        return error
    (outputs,) = found
    head = f"{error.message}\nthe last layer of the weights has {outputs} outputs, and"
    if source.classes:
        return ModelError(
            f"{head} the data have {needed} classes: {', '.join(source.classes[:LISTED])}",
            f"check that --data are those of the run's training; {error.hint}",
        )
    said = f"add classes={outputs} to --data if some do not occur" if outputs > needed else "check the labels"
    return ModelError(
        f"{head} by the labels of the data, which have no names, there are {needed} classes",
        f"{said}; {error.hint}",
    )

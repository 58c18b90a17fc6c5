"""Which statistics BatchNorm uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorms take mean and variance from the batch, as in training, and leave their running statistics alone.

    All else stays in the mode it is in.
    """
    found = batch_norms(model)
    kept = [(module.training, module.track_running_stats) for module in found]
    try:
        for module in found:
            module.training, module.track_running_stats = True, False
        yield
    finally:
        for module, (training, track) in zip(found, kept, strict=True):
            module.training, module.track_running_stats = training, track

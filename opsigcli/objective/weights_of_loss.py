"""Weights of classes in a loss function that somebody else wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = {F.cross_entropy: "ce", F.nll_loss: "nll"}


class _Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        weight = given.get("weight", args[2] if len(args) > 2 else None)
        if func in _NAMES and isinstance(weight, Tensor) and given.get("reduction") == "none":
            spec = f"{_NAMES[func]}?weight={','.join(f'{w:.6g}' for w in weight.tolist())}"
            smoothing = given.get("label_smoothing", 0.0)
            self.found.append(spec + (f"&label_smoothing={smoothing:g}" if smoothing else ""))
        return func(*args, **given)


@contextmanager
def watch_weights(wanted: bool) -> Iterator[list[str]]:
    """Specs of the losses with weights of classes that are computed in this context, one for each entry.

    Multiplied losses without torch's own denominator give another mean than the one that torch trains on.
    """
    if not wanted:
        yield []
        return
    watch = _Watch()
    with watch:
        yield watch.found

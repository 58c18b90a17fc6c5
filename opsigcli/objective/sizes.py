"""What a forward pass of one example makes, and how many examples pass at a time, so that memory keeps to a bound."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Bytes of the largest activation of a batch, whoever asks for it: of a language model mostly its logits, context times
# vocabulary for each example. A pass holds a few such at a time.
ROOM = 128 << 20
FAR_MORE = 4


class Sizes(NamedTuple):
    """What a forward pass of one example makes."""

    largest: int  # bytes of the largest activation
    outputs: dict[nn.Module, int]  # numbers that each module puts out

    @property
    def most(self) -> int:
        """Examples in a batch, at most; one at least."""
        return max(1, ROOM // self.largest)

    @property
    def said(self) -> tuple[str, ...]:
        """That one example takes far more than a batch is to take, in words; nothing where it does not."""
        if self.largest <= FAR_MORE * ROOM:
            return ()
        return (
            f"a forward pass of one example makes {self.largest / (1 << 30):.2g} GiB at once, and a few times that is "
            "held for a moment; shorter sequences, or a smaller vocabulary, take less",
        )


@torch.inference_mode()
def measure(model: nn.Module, given: Tensor) -> Sizes:
    """The sizes of activations, found by passing one example (1, …) through the model, which is then in eval mode.

    Where a model cannot be watched, its outputs stand for all of them.
    """
    largest, made = 1, dict[nn.Module, int]()

    def look(module: nn.Module, _inputs: Any, outputs: Any) -> None:
        nonlocal largest
        made[module] = outputs.numel() if isinstance(outputs, Tensor) else 0
        if (
            isinstance(outputs, Tensor) and outputs.data_ptr() != given.data_ptr()
        ):  # the inputs are there anyway
            largest = max(largest, outputs.numel() * outputs.element_size())

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        model.eval()(given)
    except Exception:  # whatever a model does that cannot be watched
        largest, made = 0, {}
    finally:
        for hook in hooks:
            hook.remove()
    if not largest:
        outputs = model(given)
        largest = outputs.nbytes if isinstance(outputs, Tensor) else 0
    return Sizes(max(largest, 1), made)

"""Refuse a model that does not give the same outputs twice, before an hour is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.examples import ReadsPadded
from opsigcli.usercode import guarded

# Share of the largest output: kernels differ by far less, dropout and batch statistics by far more.
TOLERANCE = 1e-3
COLOURS = (1, 3, 4)  # channels of pictures
ROOM = 128 << 20  # bytes of outputs
PARTS = 6  # of outputs, named
LOGITS = ("logits", "out", "output", "prediction")  # what the part of outputs that is meant is mostly called
BLOCK = 1 << 20  # numbers compared at a time


def agree_twice(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's outputs on ``inputs`` (B, …), if a second pass and a pass over half of them give the same.

    The half finds layers that still use batch statistics. Of examples that put out much, only as many pass as fit
    128 MiB, two at least. The model is left in the mode it was in.

    Raises:
        ModelError: the model fails, returns no tensor of B rows, or passes disagree.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            few = _forward(model, inputs[:2])
            inputs = inputs[: max(2, ROOM * len(few) // max(few.nbytes, 1))]
            del few
            outputs = _forward(model, inputs)
            second = _forward(model, inputs)
            _same(
                outputs,
                second,
                "two passes over the same examples",
                "dropout or noise that ignores eval mode",
            )
            del second
            half = _forward(model, inputs[: (len(inputs) + 1) // 2])
    finally:
        model.train(training)
    _same(
        outputs[: len(half)],
        half,
        "the outputs of an example, alone and beside others,",
        "BatchNorm by F.batch_norm with the statistics of the batch in eval mode (nn.BatchNorm has those of the data), "
        "or mixing over the batch",
    )
    return outputs


def _forward(model: nn.Module, inputs: Tensor) -> Tensor:
    shape = tuple(inputs.shape)
    hint = "check that --model fits the inputs of --data"
    if isinstance(model, ReadsPadded) and model.padding is None:
        hint += ", and name the token that pads, if it asks for one: padding=ID in --model"
    if not inputs.is_floating_point() and not any(isinstance(m, nn.Embedding) for m in model.modules()):
        hint = "whole numbers are taken for token numbers: store features as x.astype('float32')"
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()} - {inputs.dtype}
    if inputs.is_floating_point() and kinds:
        hint = (
            f"the model computes in {', '.join(sorted(map(_kind, kinds)))}, its inputs are {_kind(inputs.dtype)}: let "
            "the factory of --model return net.float()"
        )
    takes = _takes(model)
    if inputs.ndim == 2 and inputs.is_floating_point() and takes not in (None, inputs.shape[1]):
        hint = f"the model's first layer takes {takes:,} numbers, and an example of the data has {inputs.shape[1]:,}"
        if takes is not None and takes < inputs.shape[1]:
            hint += ": of a table, columns=NAME,NAME… in --data leaves out what is no input (an index, an id)"
    if inputs.ndim == 4 and inputs.shape[1] == 3 and _channels(model) == 1:
        hint = "the model takes pictures of one channel, grey ones: add mode=L to --data"
    if _channels_last(model, inputs):
        hint = (
            f"the inputs look like pictures with channels last, (N, H, W, {inputs.shape[3]}), and the model takes them "
            "first: save them as x.transpose(0, 3, 1, 2)"
        )
    with guarded(ModelError, f"a forward pass over inputs of shape {shape}", hint):
        outputs = model(inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        raise ModelError(
            f"expected outputs of one row per example, ({len(inputs)}, …); found {_shown(outputs)}",
            "let forward(inputs) return the logits alone, as by net.forward = lambda x, of=net.forward: "
            f"of(x)[{_part(outputs, len(inputs))!r}] in the factory of --model",
        )
    if not outputs.numel():
        raise ModelError(
            f"expected at least one output for each example, found outputs of shape {tuple(outputs.shape)}",
            "check the number of classes in --model",
        )
    return outputs


def _shown(outputs: Any) -> str:
    """Outputs in words: a shape, or the parts of a tuple or dict with theirs."""
    if isinstance(outputs, Tensor):
        return f"a tensor of shape {tuple(outputs.shape)}"
    if isinstance(outputs, Mapping):
        parts = [f"{name} {_shape(part)}" for name, part in outputs.items()]
    elif isinstance(outputs, list | tuple):
        parts = [_shape(part) for part in outputs]
    else:
        return type(outputs).__name__
    more = ", …" if len(parts) > PARTS else ""
    return f"{type(outputs).__name__} of {', '.join(parts[:PARTS])}{more}"


def _part(outputs: Any, rows: int) -> Any:
    """The key or the place of the part that is likeliest the logits: by its name, else the first of ``rows`` rows."""
    parts: Any = ()
    if isinstance(outputs, Mapping):
        parts = outputs.items()
    elif isinstance(outputs, list | tuple):
        parts = enumerate(outputs)
    fitting = [key for key, part in parts if isinstance(part, Tensor) and part.ndim and len(part) == rows]
    return next((key for key in fitting if key in LOGITS), next(iter(fitting), 0))


def _shape(part: Any) -> str:
    return str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _takes(model: nn.Module) -> int | None:
    """Numbers that the first linear layer takes; None where other layers with weights come before, or none does."""
    first = next((m for m in model.modules() if any(True for _ in m.parameters(recurse=False))), None)
    return first.in_features if isinstance(first, nn.Linear) else None


def _channels(model: nn.Module) -> int | None:
    """Channels that the first convolution takes; None without one."""
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), None)


def _channels_last(model: nn.Module, inputs: Tensor) -> bool:
    """Whether inputs are pictures (N, H, W, C), as they are stored by others, and the model takes (N, C, H, W)."""
    if inputs.ndim != 4 or inputs.shape[3] not in COLOURS or inputs.shape[1] in COLOURS:
        return False
    return _channels(model) == inputs.shape[3]


def _same(first: Tensor, second: Tensor, what: str, cause: str) -> None:
    if first.shape[1:] != second.shape[1:]:
        raise ModelError(
            f"expected as many outputs for an example whatever is beside it; of {what} there are "
            f"{tuple(first.shape[1:])} in one pass and {tuple(second.shape[1:])} in another",
            "outputs that are one for each pair of examples, as of contrastive losses (CLIP, SimCLR), give no example "
            "a loss of its own",
        )
    eps = torch.finfo(first.dtype).eps if first.is_floating_point() else 0.0
    difference = largest = 0.0
    for some in zip(*(torch.split(t.flatten(), BLOCK) for t in (first, second)), strict=True):
        a, b = (torch.nan_to_num(t.double()) for t in some)
        difference, largest = max(difference, float((a - b).abs().max())), max(largest, float(a.abs().max()))
    if difference > max(TOLERANCE, 8 * eps) * max(largest, 1e-6):
        raise ModelError(
            f"expected outputs that depend on the example alone; {what} differ by {difference:.2g}",
            f"look for {cause}",
        )

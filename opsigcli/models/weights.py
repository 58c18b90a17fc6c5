"""Put a checkpoint's weights into a model, or say by name why they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.registry import nearest
from opsigcli.usercode import guarded

SHOWN = 3  # keys of each kind that a message names


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Copy ``weights`` into ``model``, every key of one in the other; the model keeps its dtype and device.

    Two things may be missing, because they change no output: BatchNorm's ``num_batches_tracked``, and a second
    name of a shared tensor. Values that are not finite are copied as they are.

    Args:
        model: what the weights are for.
        weights: by state-dict key.
        where: the checkpoint, for messages.

    Raises:
        ModelError: keys are missing or unexpected, or shapes differ; each with the nearest names.
    """
    own: dict[str, Any] = {
        key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)
    }
    present = {_place(own[key]) for key in own.keys() & weights.keys()}
    missing = [
        key
        for key in own
        if key not in weights and not key.endswith("num_batches_tracked") and _place(own[key]) not in present
    ]
    unexpected = [key for key in weights if key not in own]
    reshaped = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if missing or unexpected or reshaped:
        counts = [
            f"{len(keys)} {what}"
            for keys, what in (
                (missing, "missing"),
                (unexpected, "unexpected"),
                (reshaped, "of another shape"),
            )
            if keys
        ]
        lines = [
            *_lines("missing", missing, own, "nearest in the checkpoint", unexpected or weights),
            *_lines("unexpected", unexpected, weights, "nearest in the model", missing or own),
            *(
                f"  {key!r}: expected {tuple(own[key].shape)}, found {tuple(weights[key].shape)}"
                for key in reshaped[:SHOWN]
            ),
        ]
        raise ModelError(
            "\n".join([f"the weights in {where} do not fit the model: {', '.join(counts)}", *lines]),
            "check the options of --model (widths, number of classes), or --key for another entry of the file",
        )
    with guarded(ModelError, f"copying the weights in {where}"):
        model.load_state_dict(dict(weights), strict=False)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """The same for two names of one tensor. A meta or empty tensor has no address: its own identity stands in."""
    address = tensor.data_ptr() or id(tensor)
    return address, tensor.shape, tensor.stride()


def _lines(
    what: str, keys: list[str], tensors: Mapping[str, Tensor], nearest_what: str, others: Iterable[str]
) -> list[str]:
    lines = []
    names = list(others)
    for key in keys[:SHOWN]:
        close = ", ".join(map(repr, nearest(key, names))) or "none"
        lines.append(f"  {what} {key!r} {tuple(tensors[key].shape)}; {nearest_what}: {close}")
    if len(keys) > SHOWN:
        lines.append(f"  and {len(keys) - SHOWN} more {what}")
    return lines

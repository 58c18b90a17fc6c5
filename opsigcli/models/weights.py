"""Put a checkpoint's weights into a model, or say by name why they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.registry import nearest
from opsigcli.usercode import guarded

COMPILED = "_orig_mod."  # what torch.compile puts into the names of a module's parameters
SHOWN = 3  # keys of each kind that a message names


@runtime_checkable
class Renamed(Protocol):
    """A model whose library saves tensors under other names than the model has for them."""

    names_in_checkpoints: dict[str, str]  # name in a saved file -> name in the model


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], *, where: str, partial: bool = False) -> str:
    """Copy ``weights`` into ``model``, every key of one in the other; the model keeps its dtype and device.

    Two things may be missing, because they change no output: BatchNorm's ``num_batches_tracked``, and a second
    name of a shared tensor. Values that are not finite are copied as they are. Where the model is one attribute of
    what was saved, as in Lightning's modules, the attribute's name before all keys is taken off.

    Args:
        model: what the weights are for.
        weights: by state-dict key.
        where: the checkpoint, for messages.
        partial: copy what fits, and leave the rest of the model as it is.

    Returns:
        How the weights were made to fit, in words; "" when they fit as they are.

    Raises:
        ModelError: keys are missing or unexpected, or shapes differ; each with the nearest names.
    """
    own: dict[str, Any] = {
        key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)
    }
    renamed = model.names_in_checkpoints if isinstance(model, Renamed) else {}
    compiled = any(COMPILED in key for key in weights) and not any(COMPILED in key for key in own)
    if compiled:
        weights = {key.replace(COMPILED, ""): value for key, value in weights.items()}
    weights = {key if key in own else renamed.get(key, key): value for key, value in weights.items()}
    prefix = _common_prefix(own, weights)
    weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    notes = [f"the names in the checkpoint begin with {prefix!r}, which is taken off"] if prefix else []
    notes += (
        [f"the names in the checkpoint have torch.compile's {COMPILED!r}, which is taken out"]
        if compiled
        else []
    )
    present = {_place(own[key]) for key in own.keys() & weights.keys()}
    missing = [
        key
        for key in own
        if key not in weights and not key.endswith("num_batches_tracked") and _place(own[key]) not in present
    ]
    unexpected = [key for key in weights if key not in own]
    reshaped = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if partial and any(key in weights and key not in reshaped for key in own):
        if missing or unexpected or reshaped:
            notes.append(f"a part fits: {_listed(missing, unexpected, reshaped)}")
        weights = {k: v for k, v in weights.items() if k in own and k not in reshaped}
    elif missing or unexpected or reshaped:
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
            _hint(own, unexpected, reshaped),
        )
    with guarded(ModelError, f"copying the weights in {where}"):
        model.load_state_dict(weights, strict=False)
    return "; ".join(notes)


def _common_prefix(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The one attribute's name before all keys of the checkpoint, under which the model's keys are found; or ""."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    if not needed or any(key in weights for key in needed):
        return ""
    prefixes = {key.removesuffix(needed[0]) for key in weights if key.endswith(f".{needed[0]}")}
    fitting = [
        prefix
        for prefix in prefixes
        if all(key.startswith(prefix) for key in weights)
        and all(prefix + key in weights and weights[prefix + key].shape == own[key].shape for key in needed)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def _hint(own: Mapping[str, Tensor], unexpected: list[str], reshaped: list[str]) -> str:
    """What to try: the part of the checkpoint in which all of the model's keys are found, if there is one."""
    first = next(iter(own), "")
    for key in unexpected:
        part = key.removesuffix(f".{first}")
        if part != key and not reshaped:
            return f"the model's names are found under {part!r}: add --key {part}"
    return (
        "check the options of --model (widths, number of classes), or --key for another entry of the file; "
        "--partial takes what fits"
    )


def _listed(missing: list[str], unexpected: list[str], reshaped: list[str]) -> str:
    kinds = ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
    return ", ".join(
        f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{', …' if len(keys) > SHOWN else ''})"
        for keys, what in kinds
        if keys
    )


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

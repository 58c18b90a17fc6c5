"""Put a checkpoint's weights into a model as its own modules load them, or say by name why they do not fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.models.fitting_names import fitting_names, some
from opsigcli.models.misfit import Misfit
from opsigcli.state_dict import StateDict
from opsigcli.usercode import guarded


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], *, where: str, partial: bool = False) -> str:
    """Copy ``weights`` into ``model``, every key of one in the other; the model keeps its dtype and device.

    The modules' own hooks run first, with the versions that the checkpoint states: they know older names and layouts.
    Two things may be missing, because they change no output: BatchNorm's ``num_batches_tracked``, and a second
    name of a shared tensor. Values that are not finite are copied as they are; numbers of another kind (integers or
    complex numbers for real ones) never are. Where the model is one attribute of what was saved, as in Lightning's
    modules, the attribute's name before all keys is taken off, and names of wrappers wherever they stand.

    Args:
        model: what the weights are for.
        weights: by state-dict key.
        where: the checkpoint, for messages.
        partial: copy what fits, and leave the rest of the model as it is.

    Returns:
        How the weights were made to fit, in words; "" when they fit as they are.

    Raises:
        ModelError: keys are missing or unexpected, shapes or kinds of numbers differ; each with the nearest names.
    """
    state = model.state_dict()
    own = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    fitted, notes = fitting_names(model, own, weights)
    misfit = _misfit(own, fitted)
    if unlike := [key for key in own if key in fitted and not _same_kind(key, own[key], fitted[key])]:
        raise _of_another_kind(where, own, fitted, unlike)
    if unlike := _of_one(own, fitted):
        raise _of_two(where, unlike)
    before = {key: value.clone() for key, value in own.items()} if misfit else {}
    try:
        if partial and misfit.reshaped:
            fitted = fitted.renamed({key: key for key in fitted if key not in misfit.reshaped})
        with guarded(ModelError, f"copying the weights in {where}"):
            loaded, note = _load(model, state, fitted)
        absent = [key for key in loaded.missing_keys if key in own and key not in misfit.reshaped]
        left = Misfit(_missing(own, fitted, absent), loaded.unexpected_keys, misfit.reshaped)
    except ModelError:
        if not misfit:
            raise
        left = misfit
    fits = len(left.missing) + len(left.reshaped) < len(_missing(own, {}, list(own)))
    if left and not (partial and fits and left is not misfit):
        _put_back(model, before)
        raise left.refusal(where, own, fitted)
    if left:
        notes.append(f"a part fits: {left.listed}")
    notes += [note] if note else []
    if unread := [
        key for key, value in state.items() if key not in own and key not in fitted and value is not None
    ]:
        notes.append(f"not loaded, as it is no tensor: {some(unread)}")
    return "; ".join(notes)


def _load(model: nn.Module, state: Mapping[str, Any], weights: StateDict) -> tuple[Any, str]:
    """What torch says of the keys, and a note on whose versions of the modules were taken."""

    def load(versions: Mapping[str, Any] | None) -> Any:
        given: Any = OrderedDict(weights)
        if versions is not None:
            given._metadata = OrderedDict((key, dict(value)) for key, value in versions.items())
        return model.load_state_dict(given, strict=False)

    if weights.versions is not None:
        return load(weights.versions), ""
    try:
        return load(None), ""
    except Exception:
        own = getattr(state, "_metadata", None)
        return load(own), "the checkpoint does not say of which version its modules are: those here are taken"


def _misfit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Misfit:
    """How the names and shapes differ."""
    return Misfit(
        _missing(own, weights, [key for key in own if key not in weights]),
        [key for key in weights if key not in own],
        [key for key in own if key in weights and own[key].shape != weights[key].shape],
    )


def _missing(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], keys: list[str]) -> list[str]:
    """Those of the keys without which an output is another one."""
    present = {_place(own[key]) for key in own.keys() & weights.keys()}
    return [
        key for key in keys if not key.endswith("num_batches_tracked") and _place(own[key]) not in present
    ]


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """The same for two names of one tensor. A meta or empty tensor has no address: its own identity stands in."""
    address = tensor.data_ptr() or id(tensor)
    return address, tensor.shape, tensor.stride()


def _of_one(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Two names of one tensor of the model for which the weights have different numbers; [] where there are none."""
    first: dict[tuple[Any, ...], str] = {}
    for key in own:
        if key in weights:
            other = first.setdefault(_place(own[key]), key)
            if other != key and not torch.equal(*(weights[name].nan_to_num() for name in (other, key))):
                return [other, key]
    return []


def _of_two(where: str, names: list[str]) -> ModelError:
    return ModelError(
        f"expected one tensor for {names[0]!r} and {names[1]!r}, which the model shares, found two with different "
        f"numbers in {where}",
        "build the model as it was trained, without sharing them (tie_word_embeddings in config.json, or "
        "net.a.weight = net.b.weight in a factory); if one of the two is a leftover, save the weights without it",
    )


def _same_kind(key: str, own: Tensor, value: Tensor) -> bool:
    """Whether the numbers mean the same in the model's own type: real numbers are no integers of an unknown scale."""
    if own.is_floating_point():
        return value.is_floating_point()
    if own.is_complex() or not (value.is_complex() or value.is_floating_point()):
        return True
    if key.endswith("num_batches_tracked"):  # which some moving averages average as well
        return True
    return value.is_floating_point() and bool((value == value.trunc()).all())


def _of_another_kind(
    where: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor], keys: list[str]
) -> ModelError:
    def kind(tensor: Tensor) -> str:
        return str(tensor.dtype).removeprefix("torch.")

    first = keys[0]
    more = f", and {len(keys) - 1} more like it" if len(keys) > 1 else ""
    return ModelError(
        f"expected {kind(own[first])} for {first!r}, found {kind(weights[first])} in {where}{more}",
        "integers of a quantized model mean nothing without their scales: save the weights as floating-point "
        "numbers (dequantized) where they were made",
    )


def _put_back(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    """The numbers that the model had."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in before:
                value.copy_(before[key])

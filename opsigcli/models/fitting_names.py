"""The names that a model has for the tensors of a checkpoint, which wrappers and libraries save under others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from opsigcli.state_dict import WRAPPERS, StateDict

_ANYWHERE = (*WRAPPERS, "module")  # the last of DataParallel, which a model's own attribute may be called too


@runtime_checkable
class Renamed(Protocol):
    """A model whose library saves tensors under other names than the model has for them, or more than it has."""

    names_in_checkpoints: dict[str, str]  # name in a saved file -> name in the model
    ignored_in_checkpoints: tuple[str, ...]  # patterns of names that the library leaves out


def fitting_names(
    model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[StateDict, list[str]]:
    """The weights under the model's names, as far as these are known; and what was done, in words.

    Args:
        model: what the weights are for.
        own: its tensors by state-dict key.
        weights: by the names in the checkpoint.
    """
    known = model if isinstance(model, Renamed) else None
    given = (
        weights if isinstance(weights, StateDict) else StateDict(weights, getattr(weights, "_metadata", None))
    )
    names = {key: key for key in given}  # name for the model -> name in the checkpoint
    notes: list[str] = []
    if known:
        names = {key if key in own else known.names_in_checkpoints.get(key, key): key for key in given}
    if prefix := _common_prefix(own, {key: given[old] for key, old in names.items()}):
        names = {key.removeprefix(prefix): old for key, old in names.items()}
        notes.append(f"the names in the checkpoint begin with {prefix!r}, which is taken off")
    names, wrappers = _unwrapped(own, names)
    notes += [f"the names in the checkpoint have {w + '.'!r}, which is taken out" for w in wrappers]
    aside = _left_out(model, own, {key: given[old] for key, old in names.items()}, known)
    if aside:
        notes.append(f"left out, as the model computes it by itself: {some(aside)}")
    return given.renamed({key: old for key, old in names.items() if key not in aside}), notes


def _unwrapped(own: Iterable[str], names: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Names without what wrapping a module puts into them, on either side; and the wrappers that were taken out."""
    mine = {_bare(key): key for key in own}
    times = Counter(map(_bare, names))
    found: dict[str, str] = {}
    wrappers: set[str] = set()
    for key, old in names.items():
        meant = key if key in own or times[_bare(key)] > 1 else mine.get(_bare(key), key)
        found[meant] = old
        if meant != key:
            wrappers |= {*key.split(".")} & {*_ANYWHERE} - {*meant.split(".")}
    return found, sorted(wrappers)


def _bare(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _ANYWHERE)


def _common_prefix(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The one attribute's name before all keys of the checkpoint, under which the model's keys are found; or ""."""
    found = parts(own, weights)
    whole = [part for part in found if all(key.startswith(f"{part}.") for key in weights)]
    return f"{whole[0]}." if len(found) == len(whole) == 1 else ""


def parts(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """The parts of a checkpoint under each of which all of the model's tensors are found, by name and shape."""
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    if not needed or any(key in weights for key in needed):
        return []
    before = {key.removesuffix(f".{needed[0]}"): None for key in weights if key.endswith(f".{needed[0]}")}
    return [
        part
        for part in before
        if all(
            f"{part}.{key}" in weights and weights[f"{part}.{key}"].shape == own[key].shape for key in needed
        )
    ]


def _left_out(
    model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor], known: Renamed | None
) -> list[str]:
    """Tensors that the model has, but does not save any more, with the same numbers; or that its library ignores."""
    passing = {name: buffer for name, buffer in model.named_buffers() if name not in own}
    ignored = known.ignored_in_checkpoints if known else ()
    return [
        key
        for key, value in weights.items()
        if key not in own
        and (any(re.search(pattern, key) for pattern in ignored) or _same(passing.get(key), value))
    ]


def _same(buffer: Tensor | None, value: Tensor) -> bool:
    if buffer is None or buffer.shape != value.shape:
        return False
    return torch.equal(buffer.detach().cpu().double(), value.double()) if not value.is_complex() else False


def some(names: list[str]) -> str:
    """The first few of several names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

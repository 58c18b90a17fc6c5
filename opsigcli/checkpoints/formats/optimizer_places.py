"""Where a file of training state keeps its optimizers: groups, state, and what is built around them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.pickles.records import fields

_WRAPPED = re.compile(r"(base|inner|wrapped)_optimi[sz]er")  # within another one
_BOX = "__bnb_optimizer_quant_state__"
_OPTIMIZERS = (
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "optimizer_state",
    "optimizers",
    "optim",
    "opt",
)
_COPIES = re.compile(r"master|fp32|float32|scal")


def optimizer_state(top: Mapping[Any, Any]) -> Mapping[str, Any]:
    """The ``param_groups`` and ``state`` of the first optimizer in a file; empty where there is none.

    Further optimizers of the same file (one for each net of a GAN; Muon beside AdamW) are listed under ``others``, each
    with the ``label`` that the file has for it.
    """
    places: list[tuple[str, Any]] = [("", top), *((key, top.get(key)) for key in _OPTIMIZERS)]
    places += [("optimizers", fields(top.get("state")).get("optimizers"))]
    places += [
        (key, value)
        for key, value in top.items()
        if isinstance(key, str) and key not in _OPTIMIZERS and ("opt" in key.lower() or _has_groups(value))
    ]
    found: list[dict[str, Any]] = []
    for label, place in places:
        found += _optimizers(label, place, 0 if place is top else 2)
    if not found:
        return {}
    return found[0] | ({"others": found[1:]} if found[1:] else {})


def _has_groups(value: Any) -> bool:
    return isinstance(fields(value).get("param_groups"), list)


def _optimizers(label: str, place: Any, deep: int) -> list[dict[str, Any]]:
    """The optimizers at a place in a file: one, a list of some, or some by name (``{"Adam": {...}}``)."""
    if isinstance(place, list):
        items = [(f"{label}[{i}]", item) for i, item in enumerate(place)]
        return [one for name, item in items for one in _optimizers(name, item, deep - 1)] if deep else []
    entries = fields(place)
    if _has_groups(place):
        state = {key: _unpacked(entry) for key, entry in fields(entries.get("state")).items()}
        one = {"param_groups": entries["param_groups"], "state": state, "label": label}
        memories = dict.fromkeys(_memories(entries, label), True)
        return _within(memories, [one]) if memories else [one]
    if any(str(key).startswith("param_groups.") for key in entries):
        return [{**_unflattened(entries), "label": label}]
    if not deep:
        return []
    inner = [(f"{label}.{key}", value) for key, value in entries.items() if _has_groups(value)]
    found = [one for name, value in inner for one in _optimizers(name, value, 0)]
    return _within(entries, found) if any(_WRAPPED.fullmatch(str(key)) for key in entries) else found


def _within(entries: Mapping[Any, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Optimizers that another one is built around (SAM, Lookahead), with its numbers as those of their groups.

    The rule inside is not the run's: a number that it does not have makes its groups those of another.
    """
    own = {key: value for key, value in entries.items() if isinstance(value, float | bool)}
    return [
        one | {"param_groups": [own | dict(fields(group)) for group in one["param_groups"]]} for one in found
    ]


def _memories(entries: Mapping[Any, Any], label: str) -> list[str]:
    """What a state dict keeps of the parameters beyond ``state`` (the slow weights of Lookahead): another rule's.

    Copies of the weights in more bits change no step. At the root of a file other entries may be the weights.
    """
    others = [key for key in entries if isinstance(key, str) and key not in ("state", "param_groups")]
    own = [key for key in others if (label or key.startswith("slow")) and not _COPIES.search(key.lower())]
    return [key for key in own if _holds_tensors(entries[key])]


def _holds_tensors(value: Any, deep: int = 3) -> bool:
    if isinstance(value, TensorFacts):
        return bool(value.shape)
    inner = value if isinstance(value, list) else fields(value).values()
    return deep > 0 and any(_holds_tensors(one, deep - 1) for one in inner)


def _unflattened(entries: Mapping[Any, Any]) -> Mapping[str, Any]:
    """An optimizer state that was flattened by parameter name (``state.NAME.exp_avg``, ``param_groups.NAME.lr``)."""
    state: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for key, entry in entries.items():
        kind, _, rest = str(key).partition(".")
        name, _, what = rest.rpartition(".")
        if kind in ("state", "param_groups"):
            (state if kind == "state" else groups).setdefault(name, {})[what] = entry
    return {"param_groups": [{**group, "params": [name]} for name, group in groups.items()], "state": state}


def _unpacked(entry: Any) -> Any:
    """The state of one parameter without the box in which bitsandbytes hides from FSDP what is in 8 bits."""
    own = fields(entry)
    return {**{k: v for k, v in own.items() if k != _BOX}, **fields(own[_BOX])} if _BOX in own else entry

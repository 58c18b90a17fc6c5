"""Stores that HDF5 reads and that are no sound ones: what no opsig wrote, one change at a time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype()
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1,
        7,
        0.5,
        -1e300,
        10**30,
        2**63,
        "",
        "x",
        "1",
        "../x",
        "\ud800",
        "\x1b[31m",
        "é" * 300,
    ),
    *([], {}, [None], [[]], ["x"], [1, "x"], {"a": 1}, {"": None}, [0] * 100, {"pair 1 first": "x"}),
)


def names(file: h5py.File) -> list[str]:
    """Every dataset of a store."""
    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return found


def replaced(file: h5py.File, name: str, value: Any, dtype: Any = None) -> None:
    """Put another dataset in the place of one."""
    del file[name]
    file.create_dataset(name, data=value, dtype=dtype)


def _values(file: h5py.File, name: str) -> np.ndarray:
    data = file[name]
    return np.asarray(data.asstr()[()]) if h5py.check_string_dtype(data.dtype) else np.asarray(data[()])


def _shaped(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File, str, random.Random], None]:
    def apply(file: h5py.File, name: str, dice: random.Random) -> None:
        values = _values(file, name)
        text = h5py.check_string_dtype(file[name].dtype) is not None
        made = np.asarray(change(values))
        replaced(file, name, made.tolist() if text else made, TEXT if text else None)

    return apply


def _as(kind: Any) -> Callable[[h5py.File, str, random.Random], None]:
    def apply(file: h5py.File, name: str, dice: random.Random) -> None:
        values = _values(file, name)
        if values.dtype.kind in "OU":
            values = np.zeros(values.shape)
        if kind is TEXT:
            replaced(file, name, np.full(values.shape, "many", dtype=object), TEXT)
        else:
            with np.errstate(all="ignore"):
                replaced(file, name, np.nan_to_num(values).astype(kind))

    return apply


def _filled(value: float) -> Callable[[h5py.File, str, random.Random], None]:
    def apply(file: h5py.File, name: str, dice: random.Random) -> None:
        values = _values(file, name)
        if values.dtype.kind in "OU" or not values.size:
            replaced(file, name, np.full(values.shape, str(value), dtype=object), TEXT)
            return
        flat = values.reshape(-1).copy()
        for _ in range(dice.choice([1, 3, flat.size])):
            place = dice.randrange(flat.size)
            with np.errstate(all="ignore"):
                if np.isnan(value) and flat.dtype.kind != "f":
                    flat = flat.astype(np.float64)
                flat[place] = np.array(value).astype(flat.dtype)
        replaced(file, name, flat.reshape(values.shape))

    return apply


def _json(file: h5py.File, name: str, dice: random.Random) -> None:
    """Another value somewhere in a JSON text, or another text."""
    text = file[name].asstr()[()] if file[name].shape == () else ""
    try:
        data = json.loads(text)
    except (ValueError, TypeError):
        replaced(file, name, dice.choice(["", "{", "[1,", "NaN", "x" * 1000, "\ufeff{}"]), TEXT)
        return
    if dice.random() < 0.1:
        odd = [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "[[]]",
            "3",
            "NaN",
            '{"a": Infinity}',
            "[" * 100_000,
            "9" * 5000,
            "1e999",
        ]
        replaced(file, name, dice.choice(odd), TEXT)
        return
    holder: Any = {"": data}
    key: Any = ""
    while dice.random() < 0.85 and isinstance(holder[key], dict | list) and holder[key]:
        holder = holder[key]
        key = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if dice.random() < 0.2 and key != "":
        del holder[key]
    else:
        holder[key] = dice.choice(STRANGE)
    made = holder[""] if isinstance(holder, dict) and "" in holder else data
    replaced(file, name, json.dumps(made).encode("ascii"), TEXT)


def _attribute(file: h5py.File, name: str, dice: random.Random) -> None:
    """Another value of an attribute of the file, or of the gradients."""
    node = dice.choice([file, file["gradients"]])
    attribute = dice.choice(list(node.attrs))
    value = dice.choice([None, 0, -1, 3.5, "x", "", [1, 2], ["opsig"], 2**40, np.void(b"x"), True])
    del node.attrs[attribute]
    if value is not None:
        node.attrs[attribute] = value


CHANGES: dict[str, Callable[[h5py.File, str, random.Random], None]] = {
    "deleted": lambda file, name, dice: file.__delitem__(name),
    "a group": lambda file, name, dice: (file.__delitem__(name), file.create_group(name), None)[2],
    "longer": _shaped(lambda v: np.concatenate([v, v[-1:]]) if v.ndim and len(v) else np.stack([v, v])),
    "shorter": _shaped(lambda v: v[:-1] if v.ndim else v.reshape(1)),
    "empty": _shaped(lambda v: v[:0] if v.ndim else v.reshape(1)[:0]),
    "flat": _shaped(lambda v: v.reshape(-1)),
    "transposed": _shaped(lambda v: v.T if v.ndim > 1 else v[None]),
    "with an axis more": _shaped(lambda v: v[..., None]),
    "one value": _shaped(lambda v: v.reshape(-1)[0] if v.size else np.zeros(())),
    "the other way round": _shaped(lambda v: v[::-1] if v.ndim else v[None]),
    "twice the first": _shaped(
        lambda v: np.concatenate([v[:1], v[:-1]]) if v.ndim and len(v) > 1 else v[None]
    ),
    "as float64": _as(np.float64),
    "as float16": _as(np.float16),
    "as int8": _as(np.int8),
    "as uint64": _as(np.uint64),
    "as big endian": _as(">f4"),
    "as truths": _as(bool),
    "as complex numbers": _as(np.complex64),
    "as texts": _as(TEXT),
    "as bytes": _as("S4"),
    "with NaN": _filled(float("nan")),
    "with infinity": _filled(float("inf")),
    "with -1": _filled(-1),
    "with a huge number": _filled(2.0**62),
    "with zero": _filled(0),
    "attribute": _attribute,
    "JSON": _json,
}


def break_store(path: Any, seed: int) -> str:
    """Make one change, or a few, to a store; says which."""
    dice = random.Random(seed)
    said = []
    with h5py.File(path, "r+") as file:
        for _ in range(dice.choice([1, 1, 1, 2])):
            known = names(file)
            texts = [n for n in known if h5py.check_string_dtype(file[n].dtype) and file[n].shape == ()]
            change = dice.choice(list(CHANGES)) if dice.random() < 0.6 else "JSON"
            name = dice.choice(texts if change == "JSON" else known)
            CHANGES[change](file, name, dice)
            said.append(f"{name} {change}")
    return "; ".join(said)

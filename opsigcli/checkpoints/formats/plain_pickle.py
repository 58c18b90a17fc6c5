"""Pickles that torch.save did not write: pickle.dump of tensors or numpy arrays by name. Read as data, like others.

Such a file has its numbers among its instructions: of a tensor as a small torch.save file, of an array as bytes. They
are put one behind the other, so that tensors are made of them as of the records of a torch.save file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opsigcli.checkpoints.base import SIZES
from opsigcli.checkpoints.formats import torch_pickle
from opsigcli.checkpoints.formats.torch_pickle import Content, Storage, StoredTensor
from opsigcli.pickles.machine import Data
from opsigcli.pickles.records import Call, Malformed

MOST = 2_000_000  # instructions; an array takes about thirty
_KINDS = {
    "b1": "bool", "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "i8": "int64", "u8": "uint64", "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
# The storage in a small torch.save file: its bytes, and the type of its numbers.
OpenStorage = Callable[[bytes], tuple[bytes, str]]


class _Array(Call):
    """A numpy array whose shape, type and bytes come with its state."""


def looks_like_one(start: bytes, end: bytes) -> bool:
    """Whether a file that begins and ends with these bytes is one pickle of protocol 2 to 5."""
    framed = start[2:3] == b"\x95" or start[1:2] in (b"\x02", b"\x03")
    return (
        start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and framed and end == b"."
    )


def read_plain(data: Data, open_storage: OpenStorage) -> tuple[Content, bytes, dict[str, tuple[int, int]]]:
    """The pickle that fills ``data``; the bytes of all its numbers, and where those of each storage are in them.

    Raises:
        Malformed: it is no pickle, holds arrays that are none, or more follows it.
    """
    pool = bytearray()
    places: dict[str, tuple[int, int]] = {}

    def put(raw: bytes, dtype: str) -> Storage:
        if len(pool) + len(raw) > len(data):  # the same bytes, many times over
            raise Malformed("its arrays would take more bytes than it has")
        key = str(len(places))
        places[key] = (len(pool), len(raw))
        pool.extend(raw)
        return Storage(key, dtype, len(raw))

    def storage(arguments: tuple[Any, ...]) -> Storage:
        (raw,) = arguments
        return put(*open_storage(raw))

    def from_buffer(arguments: tuple[Any, ...]) -> Any:
        raw, dtype, shape, order = arguments
        return _tensor(put, raw, dtype, shape, order == "F")

    calls: dict[str, Callable[[tuple[Any, ...]], Any]] = {"torch.storage._load_from_bytes": storage}
    calls["builtins.bytes"] = lambda arguments: Call(None, arguments) if arguments else b""  # in protocol 2
    for module in ("numpy.core", "numpy._core"):
        calls[f"{module}.multiarray._reconstruct"] = lambda arguments: _Array(None, arguments)
        calls[f"{module}.numeric._frombuffer"] = from_buffer
    content = torch_pickle.read_content(data, calls=calls, most=MOST)
    if content.end != len(data):
        raise Malformed("it is a pickle and more behind it, and no torch.save file")
    odd = [name for name in content.foreign if name not in (*calls, "numpy.ndarray", "numpy.dtype")]
    try:
        root = _arrays(content.root, put, {})
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
        raise Malformed("an array in it is broken") from error
    return Content(root, tuple(odd), content.refused, content.storages, content.end), bytes(pool), places


def _arrays(value: Any, put: Callable[[bytes, str], Storage], known: dict[int, Any]) -> Any:
    """The mapping with tensors in place of arrays, also within mappings of it; each once, however often it is named."""
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, _Array):
        _, shape, dtype, turned, raw = value.state
        known[id(value)] = _tensor(put, raw, dtype, shape, bool(turned))
    elif isinstance(value, dict):
        known[id(value)] = value
        for key, entry in value.items():
            value[key] = _arrays(entry, put, known)
    return known.get(id(value), value)


def _tensor(put: Callable[[bytes, str], Storage], raw: Any, dtype: Any, shape: Any, turned: bool) -> Any:
    """An array as a tensor; one of text, objects or records stays a call.

    Raises:
        Malformed: its shape does not fit its bytes, or its numbers are not little-endian.
    """
    code = dtype.arguments[0] if isinstance(dtype, Call) else None
    kind = _KINDS.get(code) if isinstance(code, str) else None
    if kind is None or not isinstance(raw, bytes):
        return Call(dtype, shape)
    if dtype.state is not None and dtype.state[1] == ">":
        raise Malformed("its numbers are not little-endian")
    sizes = tuple(shape)
    strides, count = [0] * len(sizes), 1
    for at in range(len(sizes)) if turned else reversed(range(len(sizes))):
        if type(sizes[at]) is not int or sizes[at] < 0:
            raise Malformed("an array in it has an impossible shape")
        strides[at], count = count, count * sizes[at]
    if count * SIZES[kind] != len(raw):
        raise Malformed("an array in it has another size than its bytes")
    return StoredTensor(kind, sizes, put(raw, kind), 0, tuple(strides))

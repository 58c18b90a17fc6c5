"""Tensors from the records they are kept in. No library reads the file here: bytes become numbers, and that is all."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.formats.pickle_records import Malformed
from opsigcli.checkpoints.formats.torch_pickle import StoredTensor

if TYPE_CHECKING:
    import torch

# Storage key -> where its bytes begin in the file, and how many they are.
Locate = Callable[[str], tuple[int, int]]
_SCALARS = {
    "float32": "f",
    "float64": "d",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "uint8": "B",
    "bool": "?",
}
_SPARE = 1 << 26  # bytes that a small file's tensors may take together


def tensors(
    file: IO[bytes], locate: Locate, wanted: Mapping[str, StoredTensor], size: int
) -> dict[str, torch.Tensor]:
    """The tensors by name, each in memory of its own.

    Args:
        file: open for reading.
        locate: where the storages are in it.
        wanted: as the pickle of the file describes them.
        size: of the file, in bytes; it bounds what its tensors may take.

    Raises:
        Malformed: the file is cut off, or its tensors share storages without bound.
    """

    bound_total(wanted, size)
    storages: dict[tuple[str, str], torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    for name, tensor in wanted.items():
        place = (tensor.storage.key, tensor.dtype)
        if place not in storages:
            storages.clear()  # names of one storage follow one another; one at a time is held
            storages[place] = _storage(file, locate, tensor)
        found[name] = storages[place].as_strided(tensor.shape, tensor.stride, tensor.offset).clone()
    return found


def bound_total(wanted: Mapping[str, TensorFacts], size: int) -> None:
    """Refuse tensors that together take far more memory than their file has bytes.

    Raises:
        Malformed: they do.
    """
    total = sum(tensor.nbytes for tensor in wanted.values())
    if total > 4 * size + _SPARE:
        raise Malformed(f"its tensors would take {total} bytes, and it has {size}")


def _storage(file: IO[bytes], locate: Locate, tensor: StoredTensor) -> torch.Tensor:
    import torch

    dtype = getattr(torch, tensor.dtype)
    start, count = locate(tensor.storage.key)
    raw = bytearray(count)
    file.seek(start)
    if file.readinto(raw) != count:  # type: ignore[attr-defined]
        raise Malformed("it is cut off")
    whole = count - count % dtype.itemsize
    return (
        torch.frombuffer(raw, dtype=dtype, count=whole // dtype.itemsize)
        if whole
        else torch.empty(0, dtype=dtype)
    )


def number(file: IO[bytes], locate: Locate, tensor: StoredTensor) -> float | None:
    """The value of a tensor of one element; None when it is not finite, or of a rare type."""
    code = _SCALARS.get(tensor.dtype)
    if code is None or tensor.count != 1:
        return None
    width = struct.calcsize(code)
    start, _ = locate(tensor.storage.key)
    file.seek(start + tensor.offset * width)
    raw: Any = file.read(width)
    if len(raw) != width:
        return None
    (value,) = struct.unpack(f"<{code}", raw)
    return float(value) if math.isfinite(value) else None

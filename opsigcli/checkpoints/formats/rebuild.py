"""Tensors from the records they are kept in. No library reads the file here: bytes become numbers, and that is all."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.formats.torch_pickle import StoredTensor
from opsigcli.pickles.records import Malformed

if TYPE_CHECKING:
    import torch

# The file and the key of a storage -> where its bytes begin in the file, and how many they are.
Locate = Callable[[IO[bytes], str], tuple[int, int]]
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
        OSError: it cannot be read.
    """
    bound_total(wanted, size)
    uses = Counter(tensor.storage.key for tensor in wanted.values())
    held: tuple[str, torch.Tensor] | None = (
        None  # names of one storage follow one another; one at a time is held
    )
    found: dict[str, torch.Tensor] = {}
    for name, tensor in wanted.items():
        key = tensor.storage.key
        if held is None or held[0] != key:
            held = key, _storage(file, locate, key)
        whole = uses[key] == 1 and tensor.nbytes == tensor.storage.bytes
        found[name] = _of(held[1], tensor, copy=not whole)
    return found


def bound_total(wanted: Mapping[str, TensorFacts], size: int) -> None:
    """Refuse tensors that together take far more memory than their file has bytes.

    Raises:
        Malformed: they do.
    """
    total = sum(tensor.nbytes for tensor in wanted.values())
    if total > 4 * size + _SPARE:
        raise Malformed(f"its tensors would take {total} bytes, and it has {size}")


def _storage(file: IO[bytes], locate: Locate, key: str) -> torch.Tensor:
    """The bytes of a storage, in memory of their own.

    Raises:
        Malformed: the file ends before.
    """
    import torch

    start, count = locate(file, key)
    raw = torch.empty(count, dtype=torch.uint8)
    file.seek(start)
    if file.readinto(raw.numpy()) != count:  # type: ignore[attr-defined]
        raise Malformed("it is cut off")
    return raw


def _of(raw: torch.Tensor, tensor: StoredTensor, *, copy: bool) -> torch.Tensor:
    """The tensor in the bytes of its storage; without a copy, these become its memory."""
    import torch

    dtype = getattr(torch, tensor.dtype)
    numbers = raw[: len(raw) - len(raw) % dtype.itemsize].view(dtype)
    found = numbers.as_strided(tensor.shape, tensor.stride, tensor.offset)
    found = found.conj_physical() if tensor.conjugate else found
    found = found.neg() if tensor.negative else found
    return found.clone() if copy else found


def number(file: IO[bytes], locate: Locate, tensor: StoredTensor) -> float | None:
    """The value of a tensor of one element; None when it is not finite, or of a rare type."""
    code = _SCALARS.get(tensor.dtype)
    if code is None or tensor.count != 1:
        return None
    width = struct.calcsize(code)
    start, _ = locate(file, tensor.storage.key)
    file.seek(start + tensor.offset * width)
    raw: Any = file.read(width)
    if len(raw) != width:
        return None
    (value,) = struct.unpack(f"<{code}", raw)
    return float(value) if math.isfinite(value) else None

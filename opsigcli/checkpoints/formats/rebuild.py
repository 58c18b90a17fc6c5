"""Tensors from the records they are kept in. No library reads the file here: bytes become numbers, and that is all."""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.formats.torch_pickle import StoredTensor
from opsigcli.pickles.records import Malformed

if TYPE_CHECKING:
    import torch


class Span(NamedTuple):
    """Where the bytes of a storage are in a file."""

    begin: int
    size: int
    crc: int = 0  # their CRC-32, as the file states it; 0 where it states none


Locate = Callable[[IO[bytes], str], Span]  # the file and the key of a storage -> where it is
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
            held = key, _storage(file, locate(file, key), name)
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


def _storage(file: IO[bytes], span: Span, name: str) -> torch.Tensor:
    """The bytes of a storage, in memory of their own.

    Args:
        file: open for reading.
        span: where they are.
        name: of a tensor in it.

    Raises:
        Malformed: the file ends before, or they are not those that were written.
    """
    import torch

    raw = torch.empty(span.size, dtype=torch.uint8)
    file.seek(span.begin)
    if file.readinto(raw.numpy()) != span.size:  # type: ignore[attr-defined]
        raise Malformed("it is cut off")
    # torch.load does not look: a copy that failed half way, or a bad disk, gave other weights without a word.
    if span.crc and zlib.crc32(raw.numpy().data) != span.crc:
        what = f"its tensor {name!r} is damaged" if name else "a tensor in it is damaged"
        raise Malformed(f"{what}: the checksum of its bytes is not the one beside them")
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
    file.seek(locate(file, tensor.storage.key).begin + tensor.offset * width)
    raw: Any = file.read(width)
    if len(raw) != width:
        return None
    (value,) = struct.unpack(f"<{code}", raw)
    return float(value) if math.isfinite(value) else None

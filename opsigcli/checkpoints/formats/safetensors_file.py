"""Raw .safetensors files: a JSON header of names, types, shapes and text metadata, then the numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.base import (
    SIZES,
    CheckpointFormat,
    Header,
    NotWeights,
    OptimizerFacts,
    TensorFacts,
    unreadable,
)
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats.torch_container import START, saved_by_torch
from opsigcli.checkpoints.step_keys import content_counts, content_lr
from opsigcli.errors import CheckpointError, raise_lost_signal
from opsigcli.files import open_file

if TYPE_CHECKING:
    import torch

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
_DTYPES = {  # name in the file -> element type
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


class SafetensorsFile(CheckpointFormat):
    """One .safetensors file. Nothing in this format can be code."""

    name = "safetensors"
    suffixes = (".safetensors",)

    def recognises(self, path: Path) -> bool:
        """Files that begin as this format does, whatever their names; or end in .safetensors, but begin as no other."""
        if not path.is_file():
            return False
        return begins(path) or (path.suffix.lower() in self.suffixes and not _by_torch(path))

    def describe(self, path: Path) -> Header:
        """Names, types and shapes; step, epoch and lr from the text metadata.

        Raises:
            NotWeights: the file holds no tensors.
            CheckpointError: the file cannot be read.
        """
        tensors, metadata = _header(path)
        if not tensors:
            raise NotWeights(f"{path} holds no tensors", "leave it out of the folder")
        optimizer = OptimizerFacts(name=metadata.get("optimizer", ""))
        return Header({"": tensors}, content_counts(metadata), content_lr(metadata), optimizer)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The weights. ``key`` chooses the tensors whose names begin with ``key.``."""
        facts, _ = _header(path)
        _, names = choose(path, {"": facts}, key, weights if weights != "model" else "")
        return self.read_named(path, names)

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """The text metadata."""
        return _header(path)[1]

    def read_named(self, path: Path, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
        """Tensors of a file that was described before, as name to give -> name in the file.

        Raises:
            CheckpointError: the file cannot be read, or the safetensors library refuses it.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                # safe_open maps the file: without the copy, the weights would change when the file does.
                return {plain: file.get_tensor(name).clone() for plain, name in names.items()}
        except OSError as error:
            raise unreadable(path, error) from error
        except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
            raise_lost_signal()
            raise CheckpointError(
                f"expected a safetensors file, found {path}, which the safetensors library refuses: {error}",
                "copy or save the checkpoint again",
            ) from error


def begins(path: Path) -> bool:
    """Whether a file begins with the size of a header within it, and a header."""
    try:
        with open_file(path) as file:
            start = file.read(16)
            size = path.stat().st_size
    except OSError:
        return False
    return start[8:10] == b'{"' and 2 <= int.from_bytes(start[:8], "little") <= min(size - 8, _MAX_HEADER)


def _by_torch(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return saved_by_torch(file.read(START))
    except OSError:
        return False


def _header(path: Path) -> tuple[dict[str, TensorFacts], dict[str, str]]:
    """The tensors in the header of a file, and its text metadata; checked against the size of the file.

    Raises:
        CheckpointError: the file cannot be read, is cut off, or its header is none.
    """
    try:
        with open_file(path) as file:
            size = path.stat().st_size
            if size < 8:
                raise _truncated(path, 8, size)
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise _corrupt(path, f"its header claims {length} bytes")
            if 8 + length > size:
                raise _truncated(path, 8 + length, size)
            raw = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        entries: dict[str, Any] = json.loads(raw)
        metadata = entries.pop("__metadata__", None) or {}
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError
        tensors, end = _tensors(entries)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _corrupt(path, "its header is not a safetensors header") from error
    if 8 + length + end > size:
        raise _truncated(path, 8 + length + end, size)
    if 8 + length + end < size:
        raise _corrupt(path, f"{size - 8 - length - end} bytes follow its last tensor")
    return tensors, metadata


def _tensors(entries: Mapping[str, Any]) -> tuple[dict[str, TensorFacts], int]:
    """The tensors, and where their numbers end in bytes; they follow one another without a gap or an overlap.

    Raises:
        ValueError: a gap, an overlap, or a size that shape and type do not give.
    """
    tensors: dict[str, TensorFacts] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        dtype = _DTYPES.get(entry["dtype"], str(entry["dtype"]))
        begin, after = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*entry["shape"], begin, after)):
            raise ValueError
        tensors[name] = TensorFacts(dtype, tuple(entry["shape"]))
        if dtype in SIZES and after - begin != tensors[name].nbytes:
            raise ValueError
        spans.append((begin, after))
    end = 0
    for begin, after in sorted(spans):
        if begin != end or after < begin:
            raise ValueError
        end = after
    return tensors, end


def _truncated(path: Path, expected: int, found: int) -> CheckpointError:
    what = "is empty" if found == 0 else "is truncated"
    return CheckpointError(
        f"{path} {what}: expected {expected} bytes or more, found {found}",
        "copy or save the checkpoint again; the writer may have been killed, or the disk full",
    )


def _corrupt(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"expected a safetensors file, found {path}: {problem}", "copy or save the checkpoint again"
    )

"""Files of bare token numbers as training frameworks write them: where the numbers begin, and of which type they are.

nanoGPT's have numbers alone (``train.bin``, 16 bits). llm.c's (and those of modded-nanogpt) begin with 256 whole
numbers that say type and count. Megatron's have an index beside them (``.idx``) with type and documents.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import open_file, read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "int64", "uint64")
LOOKED_AT = 1 << 16  # numbers at the beginning that tell whether the type is right
HEADER = 1024  # bytes of llm.c's
LLMC = {20240520: "uint16", 20240801: "uint32"}  # its magic numbers of tokens
LLMC_OTHERS = {
    20240522: "an evaluation set of llm.c",
    20240326: "a model of llm.c",
    20240327: "a state of llm.c",
}
MEGATRON = b"MMIDIDX\x00\x00"
MEGATRON_TYPES = {1: "uint8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
WIDER = {
    "uint8": ("uint16", "uint32"),
    "uint16": ("uint32", "int64"),
    "int16": ("int32", "int64"),
    "uint32": ("int64",),
    "int32": ("int64",),
}
_INDEX = struct.Struct("<QBQQ")  # version, type, sequences, documents


@dataclass(frozen=True)
class TokenFile:
    """The numbers of a file, mapped and not read."""

    tokens: NDArray[np.integer]
    kind: str  # what wrote it, as far as it says
    firsts: Ints | None  # where each document begins, where an index says so


def open_tokens(path: str, dtype: str | None) -> TokenFile:
    """Map the numbers of a file.

    Args:
        path: the file.
        dtype: the type of the numbers; None = as the file says, else uint16.

    Raises:
        DatasetError: it cannot be read, is no whole number of tokens, or is of another kind or type.
        UsageError: ``dtype`` is not the type that the file says.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            begin, said, kind, count, firsts = _described(path, file.read(HEADER), size)
            if said and dtype and said != dtype:
                raise UsageError(
                    f"expected dtype={said}, as {kind} says of {path}; found dtype={dtype}",
                    "leave out dtype=",
                )
            width = np.dtype(said or dtype or "uint16")
            left = (size - begin) % width.itemsize
            if left or size <= begin:
                raise DatasetError(
                    f"expected a whole number of {width} tokens in {path}; it has {size - begin:,} bytes"
                    + (f", {left} too many" if left else ""),
                    "is it cut off, or of another type? give dtype=" + "|".join(DTYPES),
                )
            tokens = np.memmap(file, width, "r", begin)
    except OSError as error:
        raise DatasetError(
            f"cannot read the tokens {path}: {error.strerror or error}", "check the path"
        ) from error
    if count is not None and count != len(tokens):
        raise DatasetError(
            f"expected {count:,} tokens in {path}, as {kind} says; found {len(tokens):,}",
            "it is cut off: copy it again",
        )
    if not said:
        _require_type(tokens[:LOOKED_AT], path, str(width))
    return TokenFile(tokens, kind, firsts)


def _described(path: str, head: bytes, size: int) -> tuple[int, str, str, int | None, Ints | None]:
    """Where the numbers begin, their type, who says so, how many there are, and where documents begin.

    Raises:
        DatasetError: it is another kind of file, or its index cannot be read.
    """
    index = Path(path).with_suffix(".idx")
    if index.exists():
        return 0, *_of_index(index)
    magic, version, count = struct.unpack_from("<iii", head) if len(head) == HEADER else (0, 0, 0)
    if magic in LLMC_OTHERS:
        raise DatasetError(
            f"expected tokens in {path}, found {LLMC_OTHERS[magic]}", "name the file of tokens"
        )
    if magic in LLMC and version in (1, 7):
        return HEADER, LLMC[magic], "its header (of llm.c)", count, None
    return 0, "", "", None, None


def _of_index(path: Path) -> tuple[str, str, int, Ints]:
    """Type and documents of an index of Megatron.

    Raises:
        DatasetError: it is none, or of another version.
    """
    content = read_file(path, 1 << 33)
    if not content.startswith(MEGATRON):
        raise DatasetError(
            f"expected an index of Megatron in {path}, which stands beside the tokens; it is none",
            "move it elsewhere if it is not about them",
        )
    try:
        version, code, sequences, documents = _INDEX.unpack_from(content, len(MEGATRON))
        at = len(MEGATRON) + _INDEX.size
        lengths = np.frombuffer(content, "<i4", sequences, at).astype(np.int64)
        ends = np.frombuffer(content, "<i8", documents, at + 12 * sequences)
        firsts = (np.cumsum(lengths) - lengths)[ends[ends < sequences]]
        kind = MEGATRON_TYPES[code]
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise DatasetError(
            f"cannot read the index {path}: expected version 1 of Megatron's, with whole numbers as tokens",
            "write the data again with Megatron's preprocess_data.py, or move the index elsewhere and give dtype=",
        ) from error
    if (
        version != 1
        or (lengths < 0).any()
        or not len(firsts)
        or firsts[0] != 0
        or (np.diff(firsts) < 0).any()
    ):
        raise DatasetError(
            f"expected version 1 of Megatron's index with documents in order in {path}", "give dtype="
        )
    return kind, "the index beside it (of Megatron)", int(lengths.sum()), firsts.astype(np.int64)


def _require_type(some: NDArray[np.integer], path: str, dtype: str) -> None:
    """Refuse numbers that are halves or quarters of wider ones, or below 0.

    Raises:
        DatasetError: they are.
    """
    for other in reversed(WIDER.get(dtype, ())):
        times = np.dtype(other).itemsize // np.dtype(dtype).itemsize
        rows = some[: len(some) // times * times].reshape(-1, times)
        if len(rows) > 8 and rows[:, 0].any() and not rows[:, 1:].any():
            raise DatasetError(
                f"expected {dtype} tokens in {path}; but for every {'second' if times == 2 else 'fourth'} one "
                f"all numbers are 0, as in a file of {other}",
                f"add dtype={other}",
            )
    if some.min(initial=0) < 0:
        raise DatasetError(
            f"expected tokens of at least 0 in {path}; found {some.min()} as {dtype}", "give another dtype="
        )

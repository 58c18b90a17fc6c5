"""Example ids from a file: one that ``opsig mine --export`` wrote, or plain text with an id per line
(``17``, or ``1:17`` for token 17 of document 1).

The file is data from elsewhere: nothing in it is unpickled, and an id is a whole number, never one that a float or a
truth value would round to.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from opsigcli.checkpoints.formats.torch_container import open_torch
from opsigcli.datasets.npz_sizes import refuse_oversized
from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import open_file
from opsigcli.pickles.records import Malformed, fields
from opsigcli.token_ids import id_number

LARGEST = 1 << 30  # bytes of a file
_ID = (1 << 63) - 1


def read_ids(path: Path) -> NDArray[np.int64]:
    """The example ids in a file, sorted, each once.

    Raises:
        UsageError: the file is missing, or holds no ids.
    """
    hint = "make one with: opsig mine --export groups.csv"
    try:
        with open_file(path) as file:
            file.seek(0, io.SEEK_END)
            size = file.tell()
            file.seek(0)
            if size > LARGEST:
                raise ValueError(f"it has {size:,} bytes, more than {LARGEST:,}")
            ids = sorted({_id(found) for found in _READERS.get(path.suffix.lower(), _plain)(file)})
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        MemoryError,
        RecursionError,
        Malformed,
        DatasetError,
        BadZipFile,
        csv.Error,
    ) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"expected a file of example ids, found {path}: {type(error).__name__}: {reason}", hint
        ) from error
    if not ids:
        raise UsageError(f"expected example ids in {path}, found none", hint)
    return np.array(ids, dtype=np.int64)


def _id(found: Any) -> int:
    """One id.

    Raises:
        ValueError: it is no whole number from 0 on, or beyond 64 bits.
    """
    if isinstance(found, str):
        found = id_number(found)
    if not isinstance(found, int | np.integer) or isinstance(found, bool) or not 0 <= found <= _ID:
        raise ValueError(f"expected an id, a whole number of at least 0; found {str(found)[:60]!r}")
    return int(found)


def _npz(file: BufferedReader) -> Iterable[Any]:
    refuse_oversized(file, ("ids",), file.name)
    with np.load(file, allow_pickle=False) as arrays:
        found = arrays["ids"]
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(f"its ids are {found.dtype} of shape {found.shape}")
    ids: list[int] = found.tolist()
    return ids


def _torch(file: BufferedReader) -> Iterable[Any]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    found = fields(open_torch(file, 0, size).content.root)["indices"]
    if not isinstance(found, list):
        raise ValueError(f"its indices are a {type(found).__name__}, no list")
    return found


def _csv(file: BufferedReader) -> Iterable[Any]:
    return [row["id"] for row in csv.DictReader(io.StringIO(file.read().decode()))]


def _jsonl(file: BufferedReader) -> Iterable[Any]:
    return [json.loads(line)["id"] for line in file.read().decode().splitlines() if line.strip()]


def _json(file: BufferedReader) -> Iterable[Any]:
    return [sample["id"] for sample in json.loads(file.read())["labels"].values()]


def _plain(file: BufferedReader) -> Iterable[Any]:
    return file.read().decode().split()


_READERS: dict[str, Callable[[BufferedReader], Iterable[Any]]] = {
    ".npz": _npz,
    ".pt": _torch,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _json,
}

"""The seal of a store: a checksum of every stretch of its bytes, behind the end of the HDF5 file.

HDF5 has no checksum for its own structures in the plain format, and what a flipped byte makes of them ends in other
numbers, or in the end of the process. So the bytes are checked before HDF5 looks at them, each dataset by itself, that
the damage has a name. HDF5 passes over what stands behind its end, and a program that changes the file cuts it off: the
store is then like one of an older opsig, which has no seal.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from opsigcli.errors import StoreError, Unsound

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # HDF5 specification, section II.A
STRUCTURE = "its structure and texts"  # what lies between the datasets
READ = 1 << 22  # bytes at a time
_TAIL = re.compile(rb"\n([0-9a-f]{16}) ([0-9a-f]{8}) opsig-seal\n")
_LENGTH = 38  # of the tail
_MOST = 1 << 26  # bytes of a seal
_END = 40  # where a superblock of version 0 has the address of the end of the file

Stretch = tuple[str, int, int]  # name, first byte, byte after the last


def seal(file: IO[bytes], datasets: Iterable[Stretch]) -> None:
    """Write the seal behind a finished HDF5 file.

    Args:
        file: open for reading and writing.
        datasets: where in the file the values of each lie.
    """
    size = file.seek(0, os.SEEK_END)
    rows = [[*stretch, _checksum(file, *stretch[1:])] for stretch in _whole(datasets, size)]
    text = json.dumps(rows, separators=(",", ":")).encode()
    file.seek(size)
    file.write(text + b"\n%016x %08x opsig-seal\n" % (len(text), zlib.crc32(text)))


def require_intact(file: IO[bytes], path: Path) -> bool:
    """Hold the bytes of a store against its seal; returns whether it has one.

    Args:
        file: open for reading.
        path: for the message.

    Raises:
        Unsound: bytes of a sealed file were changed.
        StoreError: bytes are missing, or stand behind the end.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _LENGTH, 0))
    tail = _TAIL.fullmatch(file.read(_LENGTH))
    if tail is None:
        _require_end(file, path, size)
        return False
    length = int(tail[1], 16)
    end = size - _LENGTH - length
    if length > _MOST or end < 0:
        raise _damaged(path, "its seal", size - _LENGTH, size)
    file.seek(end)
    text = file.read(length)
    if zlib.crc32(text) != int(tail[2], 16):
        raise _damaged(path, "its seal", end, size)
    at = 0
    for name, start, stop, checksum in _rows(text, path, end, size):
        if start != at or not start <= stop <= end:
            raise _damaged(path, "its seal", end, size)
        if _checksum(file, start, stop) != checksum:
            raise _damaged(path, name, start, stop)
        at = stop
    if at != end:
        raise _damaged(path, "its seal", end, size)
    return True


def _rows(text: bytes, path: Path, end: int, size: int) -> list[tuple[str, int, int, int]]:
    """The seal as it was written; a forged one may hold anything.

    Raises:
        Unsound: it holds something else.
    """
    try:
        return [(str(name), int(start), int(stop), int(sum_)) for name, start, stop, sum_ in json.loads(text)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(path, "its seal", end, size) from error


def _whole(datasets: Iterable[Stretch], size: int) -> list[Stretch]:
    """The stretches of all bytes in order: those of datasets, joined where they touch, and what lies between them."""
    found: list[Stretch] = []
    at = 0
    for name, first, stop in sorted(datasets, key=lambda stretch: stretch[1:]):
        start = max(first, at)
        if start >= stop:
            continue
        if start > at:
            found.append((STRUCTURE, at, start))
        if found and found[-1][0] == name and found[-1][2] == start:
            start = found.pop()[1]
        found.append((name, start, stop))
        at = stop
    return [*found, (STRUCTURE, at, size)] if at < size else found


def _checksum(file: IO[bytes], start: int, stop: int) -> int:
    """CRC-32 of a stretch: it changes with any damage of up to 32 bits in a row."""
    file.seek(start)
    found = 0
    for at in range(start, stop, READ):
        found = zlib.crc32(file.read(min(READ, stop - at)), found)
    return found


def _require_end(file: IO[bytes], path: Path, size: int) -> None:
    """Refuse a file that ends elsewhere than HDF5 says, which a seal that cannot be read and a cut do.

    Raises:
        StoreError: it does.
    """
    file.seek(0)
    head = file.read(_END + 8)
    if len(head) < _END + 8 or head[: len(SIGNATURE)] != SIGNATURE or head[len(SIGNATURE)]:
        return  # no HDF5 file, or none in the version that opsig writes: for HDF5 to tell
    (end,) = struct.unpack_from("<Q", head, _END)
    if end != size:
        raise StoreError(
            f"the file {path} is damaged: HDF5 says that it ends after {end:,} bytes, found {size:,}",
            "put a copy of it in its place; if it was a store, remove it and make it again with: opsig trace",
        )


def _damaged(path: Path, what: str, start: int, stop: int) -> Unsound:
    return Unsound(
        f"the store {path} is damaged: {what}, bytes {start:,} to {stop:,}, is not as it was written",
        "put a copy of it in its place, or make it again with: opsig trace --fresh",
    )

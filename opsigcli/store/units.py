"""Units of finished work, one file each, that wait to be merged into the store.

A unit is the losses of one checkpoint over one shard of examples, or one sharpness point. Its file holds a JSON
header line (key, configuration hash, dtype, shape, CRC-32) and the raw bytes, is fsynced under a temporary name and
put in place with ``os.replace``: a process killed at any moment loses at most the unit in flight.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import socket
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "here"
_TEMPORARY = re.compile(r".+\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)\.tmp")


class Units:
    """The folder of units beside a store, for one configuration.

    Args:
        store: the store the units belong to.
        configuration: everything the numbers depend on; units made under another one are ignored.
    """

    def __init__(self, store: Path, configuration: dict[str, Any]) -> None:
        self.folder = store.with_name(store.name + ".parts")
        text = json.dumps(configuration, sort_keys=True, default=str)
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, key: str) -> Path:
        """Where the unit ``key`` lies."""
        return self.folder / f"{key}-{self.hash}.unit"

    def write(self, key: str, array: NDArray[Any]) -> None:
        """Store one unit.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
        """
        dense = np.ascontiguousarray(array)
        raw = dense.reshape(-1).view(np.uint8).data  # the bytes themselves, not a copy of them
        header = {
            "key": key,
            "configuration": self.hash,
            "dtype": array.dtype.str,
            "shape": array.shape,
            "crc32": zlib.crc32(raw),
        }

        def fill(file: BinaryIO) -> None:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(raw)

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        write_file(self.path(key), fill)

    def read(self, key: str) -> NDArray[Any] | None:
        """The unit, or None when it is absent or damaged (it is then computed again)."""
        try:
            with self.path(key).open("rb") as file:
                header = json.loads(file.readline())
                raw = file.read()
        except (OSError, ValueError):
            return None
        if header.get("configuration") != self.hash or header.get("crc32") != zlib.crc32(raw):
            return None
        return np.frombuffer(raw, dtype=np.dtype(header["dtype"])).reshape(header["shape"])

    def has(self, key: str) -> bool:
        """Whether a file for the unit is there; only ``read`` tells that it is sound."""
        return self.path(key).exists()

    def none(self) -> bool:
        """Whether no unit of this configuration is there."""
        return next(self.folder.glob(f"*-{self.hash}.unit"), None) is None

    def discard(self, key: str) -> None:
        """Remove one unit, if it is there."""
        self.path(key).unlink(missing_ok=True)

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove the units of this configuration but those in ``keep``, and the folder when it is then empty."""
        kept = {self.path(key) for key in keep}
        for path in self.folder.glob(f"*-{self.hash}.unit"):
            if path not in kept:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def temporary_path(path: Path) -> Path:
    """Where this process writes ``path`` before it is put in place; the name says whose it is."""
    return path.with_name(f"{path.name}.{_HOST}.{os.getpid()}.tmp")


def sweep(store: Path) -> None:
    """Remove what killed processes of this machine left half written beside a store and among its units."""
    folder = store.with_name(store.name + ".parts")
    for path in [*store.parent.glob(f"{glob.escape(store.name)}.*.tmp"), *folder.glob("*.tmp")]:
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["host"] == _HOST and not _alive(int(match["process"])):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and belongs to somebody else
        return True
    return True


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is either whole or not there.

    Raises:
        StoreError: the disk is full, or the place cannot be written.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def reserve(path: Path, size: int) -> None:
    """Make sure that ``size`` bytes fit beside ``path``, before a library starts that cannot bear a full disk.

    HDF5 crashes the process when a write fails half-way, so the room is taken and given back first.

    Raises:
        StoreError: they do not fit.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    room = path.with_name(f"{path.name}.room")
    try:
        with room.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        room.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error for a place that cannot be written, with the reason in words."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error)
    if full:
        return StoreError(
            f"the disk is full: {path} could not be written; what was there before is untouched",
            "free some space and run the same command again: finished units are kept",
        )
    reason = error.strerror or str(error)
    return StoreError(
        f"{path} cannot be written: {reason}; what was there before is untouched",
        "check the folder and its permissions, or name another place with --store",
    )

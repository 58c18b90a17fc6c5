"""Units of finished work, one file each, that wait to be merged into the store.

A unit is the losses of one checkpoint over one shard of examples, or one sharpness point. Its file holds a JSON
header line (key, configuration hash, dtype, shape, CRC-32) and the raw bytes, is fsynced under a temporary name and
put in place with ``os.replace``: a process killed at any moment loses at most the unit in flight.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import stat
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.store.beside import cannot_write, opened, real_path

LONGEST_HEADER = 1 << 16  # bytes


class Units:
    """The folder of units beside a store, for one configuration.

    Args:
        store: the store the units belong to.
        configuration: everything the numbers depend on; units made under another one are ignored.

    Raises:
        StoreError: the store is a link to nothing.
    """

    def __init__(self, store: Path, configuration: dict[str, Any]) -> None:
        self.store = real_path(store)
        self.folder = self.store.with_name(self.store.name + ".parts")
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

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with opened(self.folder) as folder, folder.replacing(self.path(key).name) as (file, _):
                file.write(json.dumps(header).encode() + b"\n")
                file.write(raw)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def read(self, key: str, shape: tuple[int | None, ...] | None = None) -> NDArray[Any] | None:
        """The unit, or None when it is absent or damaged (it is then computed again).

        Args:
            key: its name.
            shape: that it must have, where it is known; None for an axis of any length.
        """
        try:
            with opened(self.folder) as folder, folder.read(self.path(key).name) as file:
                header = json.loads(file.readline(LONGEST_HEADER))
                raw = file.read()
            kind, found = np.dtype(header["dtype"]), tuple(header["shape"])
            sound = header["configuration"] == self.hash and header["crc32"] == zlib.crc32(raw)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        sound = sound and kind.kind in "biuf" and all(type(n) is int and n >= 0 for n in found)
        if not sound or math.prod(found) * kind.itemsize != len(raw):
            return None
        if shape is not None and (
            len(shape) != len(found) or any(w not in (None, n) for w, n in zip(shape, found, strict=True))
        ):
            return None
        return np.frombuffer(raw, dtype=kind).reshape(found)

    def has(self, key: str) -> bool:
        """Whether a file for the unit is there; only ``read`` tells that it is sound."""
        try:
            return stat.S_ISREG(self.path(key).lstat().st_mode)
        except OSError:
            return False

    def none(self) -> bool:
        """Whether no unit of this configuration is there."""
        return next(self.folder.glob(f"*-{self.hash}.unit"), None) is None

    def discard(self, key: str) -> None:
        """Remove one unit, if it is there."""
        with contextlib.suppress(OSError), opened(self.folder) as folder:
            folder.remove(self.path(key).name)

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove the units of this configuration but those in ``keep``, and the folder when it is then empty."""
        kept = {self.path(key).name for key in keep}
        with contextlib.suppress(OSError), opened(self.folder) as folder:
            for name in folder.names():
                if name.endswith(f"-{self.hash}.unit") and name not in kept:
                    folder.remove(name)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

"""Tells a store from other files."""

from __future__ import annotations

from pathlib import Path

import h5py

from opsigcli.store.schema import FORMAT

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # HDF5 specification, section II.A


def is_store(path: Path) -> bool:
    """Whether the file is a store, of whatever version; or a damaged HDF5 file, which may have been one."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        with path.open("rb") as raw:
            return raw.read(len(SIGNATURE)) == SIGNATURE

"""Tells a store from other files."""

from __future__ import annotations

from pathlib import Path

import h5py

from opsigcli.store.schema import FORMAT


def is_store(path: Path) -> bool:
    """Whether the file is a store, of whatever version; False where it cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        return False

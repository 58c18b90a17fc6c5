"""Tells a store from other files."""

from __future__ import annotations

from pathlib import Path

import h5py

from opsigcli.errors import Refused, StoreError
from opsigcli.files import open_file
from opsigcli.store.opening import attribute
from opsigcli.store.schema import FORMAT
from opsigcli.store.seal import SIGNATURE, require_intact


def is_store(path: Path) -> bool:
    """Whether the file is a store, of whatever version; or a damaged HDF5 file, which may have been one."""
    try:
        with open_file(path) as raw:
            if raw.read(len(SIGNATURE)) != SIGNATURE:
                return False
            require_intact(raw, path)
        with h5py.File(path, "r") as file:
            return attribute(file, "format") == FORMAT
    except (StoreError, Refused):
        return True
    except OSError:
        return path.is_file()

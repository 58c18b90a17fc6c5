"""Puts a changed store in the place of the old one, atomically and sealed, and JSON into it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from opsigcli.outcome import plain
from opsigcli.records import Run
from opsigcli.store.beside import cannot_write, opened, real_path, reserve
from opsigcli.store.decode import decode_text
from opsigcli.store.guard import walk
from opsigcli.store.opening import open_checked
from opsigcli.store.paths import MADE_IN, as_stored, folder_of
from opsigcli.store.seal import seal

SLACK = 1 << 20  # bytes: HDF5's own structures, JSON, and short arrays
TEXT = h5py.string_dtype()


def replace_store(store: Path, fill: Callable[[h5py.File], None], size: int, *, copy: bool = True) -> None:
    """Let ``fill`` change a copy of the store (or an empty file) and put it in the store's place.

    Args:
        store: the store.
        fill: writes into the open file.
        size: bytes that ``fill`` writes, about.
        copy: begin with what the store holds.

    Raises:
        StoreError: the store cannot be written; what was there stays.
    """
    try:
        store = real_path(store)
        with opened(store.parent) as folder, folder.replacing(store.name) as (raw, path):
            old = store.stat().st_size if store.exists() else 0
            reserve(raw, old + size + SLACK)
            if copy:
                open_checked(store)[0].close()  # what is carried over was looked at
                with store.open("rb") as source:
                    shutil.copyfileobj(source, raw, 1 << 20)
                raw.flush()
            with h5py.File(path, "r+" if copy else "w") as file:
                fill(file)
            with h5py.File(path, "r") as file:
                found = walk(file, path.stat().st_size)
            seal(raw, [(name, *stretch) for name, data in found.items() for stretch in data.stretches])
    except OSError as error:
        raise cannot_write(store, error) from error
    except RuntimeError as error:  # h5py reports a failed flush on close as RuntimeError
        raise cannot_write(store, OSError(str(error))) from error


def put_json(file: h5py.File, name: str, value: Any) -> None:
    """Put a record into an open store, as JSON, with paths as a store keeps them."""
    folder = ""  # of other records an option may be part of a result's name
    if name == "run":
        folder = folder_of(file.filename)
        file.attrs[MADE_IN] = as_stored(folder)
    file.create_dataset(name, data=json.dumps(as_stored(plain(value), folder)), dtype=TEXT)


def batch_norm_of(file: h5py.File) -> str:
    """Statistics of BatchNorm that the trace was made with."""
    return decode_text(Run, str(file["run"].asstr()[()]), "run").batch_norm


def drop(file: h5py.File, name: str) -> None:
    """Take a dataset or a group out of an open store, if it is there."""
    if name in file:
        del file[name]

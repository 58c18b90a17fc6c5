"""The store's format as data, held against what the writer writes and the reader reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from store_case import write_everything

from opsigcli.store.reader import Store, open_store
from opsigcli.store.schema import LAYOUT, part_at, pattern

# Two are for other readers of HDF5: reports are made of what "virtual" and "mining" say of them.
FOR_OTHERS = ("virtual_deltas", "kept/#/virtual_deltas", "groups/*", "kept/#/groups/*")


def _paths(file: h5py.File) -> set[str]:
    found: set[str] = set()
    file.visititems(lambda name, node: found.add(name) if isinstance(node, h5py.Dataset) else None)
    return found


def test_every_path_that_is_written_is_in_the_layout_and_the_other_way_round(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_everything(store)
    with h5py.File(store) as file:
        written = _paths(file)
        for path in written:
            assert part_at(path), path
        for path, part in LAYOUT.items():
            assert any(pattern(path).fullmatch(name) for name in written), path
            assert part.meaning
            assert (part.kind == "JSON") == (part.record is not None)
        for path in written:
            if part_at(path).kind == "JSON":  # type: ignore[union-attr]
                json.loads(file[path].asstr()[()])


def test_the_reader_asks_for_paths_of_the_layout_and_for_no_other(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_everything(store)
    asked: set[str] = set()

    class Watched:
        def __init__(self, file: h5py.File) -> None:
            self.file = file

        def __getitem__(self, name: str) -> Any:
            asked.add(name)
            return self.file[name]

        def __contains__(self, name: str) -> bool:
            return name in self.file

        def __getattr__(self, name: str) -> Any:  # attributes are no datasets
            return getattr(self.file, name)

    with open_store(store) as opened:
        watched = Store(store, Watched(opened.file), opened.names)
        for place in (watched, *watched.kept()):
            kind = type(place)
            for name in (name for name in dir(kind) if isinstance(getattr(kind, name), property)):
                getattr(place, name)
            place.example_curvature()
        assert watched.example_curvature()
        assert watched.gradients("key")
    parts = {known for known in LAYOUT for path in asked if pattern(known).fullmatch(path)}
    assert parts == set(LAYOUT) - set(FOR_OTHERS)
    assert {path for path in asked if part_at(path) is None} == {"gradients", "seen"}  # what they are of


def test_a_dataset_of_somebody_elses_is_passed_over(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_everything(store)
    with h5py.File(store, "r+") as file:
        file["notes"] = "mine"
        file["virtual/more"] = np.zeros(3)
        file["known_pairs/x/first"] = np.zeros(2)
    with open_store(store) as opened:
        assert opened.case.virtual is not None
        assert len(opened.known_pairs) == 1

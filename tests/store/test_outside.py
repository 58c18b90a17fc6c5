"""A store reads nothing outside of itself, whatever HDF5 offers for that."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest
from conftest import Opsig
from outside_stores import HOSTILE, external_storage
from store_case import write_everything

from opsigcli.errors import StoreError
from opsigcli.store import guard
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_critical


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = tmp_path_factory.mktemp("whole") / "s.h5"
    write_everything(store)
    return store.read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_reaches_outside_or_beyond_reason_is_refused_by_name(
    name: str, whole: bytes, tmp_path: Path
) -> None:
    change, words = HOSTILE[name]
    store = tmp_path / "s.h5"
    store.write_bytes(whole)
    with h5py.File(store, "r+") as file:
        change(file, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StoreError) as caught, open_store(store):
        pass
    assert words in caught.value.message
    assert caught.value.hint
    with pytest.raises(StoreError):  # nor is such a file added to
        write_critical(store, [], None)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_command_refuses_and_writes_nothing(opsig: Opsig, whole: bytes, tmp_path: Path) -> None:
    store, report = tmp_path / "s.h5", tmp_path / "r.html"
    store.write_bytes(whole)
    with h5py.File(store, "r+") as file:
        external_storage(file, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for words in (
        ("report",), ("report", "--html", "--output", report), ("mine",), ("sharpness",), ("sharpness", "--quick")
    ):  # fmt: skip
        done = opsig(*words, "--store", store)
        assert done.code == 3, words
        assert "the values of losses in the store" in " ".join(done.err.split())
        assert "of the user" not in done.err + done.out
    assert opsig("inspect", store).code == 3
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_plugin_is_looked_for_while_a_store_is_looked_at() -> None:
    before = [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())]
    assert before
    with guard.no_plugins():
        assert h5py.h5pl.size() == 0
    assert [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())] == before


@pytest.mark.parametrize("kind", ["nothing", "a folder", "a pipe", "a device", "an empty file", "a text"])
def test_what_is_no_file_of_hdf5_is_refused_at_once(kind: str, opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    if kind == "a folder":
        store.mkdir()
    elif kind == "a pipe":
        os.mkfifo(store)
    elif kind == "a device":
        store.symlink_to("/dev/zero")
    elif kind != "nothing":
        store.write_text("" if kind == "an empty file" else "once upon a time")
    for words in (("report",), ("mine",), ("sharpness",)):
        done = opsig(*words, "--store", store)
        assert done.code == (2 if kind == "a folder" else 3), words
        assert "hint:" in done.err
    assert not list(tmp_path.glob("s.h5.*"))

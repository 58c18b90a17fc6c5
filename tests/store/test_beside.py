"""Files beside a store: what a link under one of their names points at stays as it is, and so do link and mode."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from store_case import write_anew, write_everything

from opsigcli.errors import StoreError
from opsigcli.store import beside
from opsigcli.store.beside import sweep, write_file
from opsigcli.store.lock import locked
from opsigcli.store.reader import open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import write_critical

TREASURE = "what took the user a year\n"


def _change(store: Path) -> None:
    """Write the store as a command does."""
    with locked(store):
        with open_store(store) as opened:
            points, made = list(opened.critical), opened.provenance["trace"]
        units = Units(store, {"a": 1})
        units.write("x", np.arange(3.0))
        write_critical(store, points, made)
        units.clear()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "here" / "s.h5"
    path.parent.mkdir()
    write_everything(path)
    return path


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A folder of the user's with files named like those of opsig."""
    folder = tmp_path / "treasure"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = Units(folder / "s.h5", {"a": 1}).path("x").name
    for file in ("year.txt", name, f"x.{beside._HOST}.{dead.pid}.tmp"):
        (folder / file).write_text(TREASURE)
    return folder


def _untouched(treasure: Path) -> bool:
    files = list(treasure.iterdir())
    return len(files) == 3 and all(file.read_text() == TREASURE for file in files)


@pytest.mark.parametrize("name", ["s.h5.room", "s.h5.tmp", "s.h5.host.1.tmp", "s.h5.opsig"])
@pytest.mark.parametrize("target", ["year.txt", "nothing", "."])
def test_links_under_names_beside_the_store_are_left_alone(
    name: str, target: str, store: Path, treasure: Path
) -> None:
    (store.parent / name).symlink_to(treasure / target)
    _change(store)
    assert _untouched(treasure)
    assert sorted(path.name for path in store.parent.iterdir()) == sorted(["s.h5", name])


@pytest.mark.parametrize("target", ["year.txt", "nothing", "."])
def test_a_lock_that_is_a_link_is_refused(target: str, store: Path, treasure: Path) -> None:
    (store.parent / "s.h5.lock").symlink_to(treasure / target)
    with pytest.raises(StoreError, match=r"expected an empty file or nothing at .*s\.h5\.lock"):
        _change(store)
    assert _untouched(treasure)
    assert (store.parent / "s.h5.lock").is_symlink()


def test_a_lock_that_holds_something_or_is_a_pipe_is_refused(store: Path, treasure: Path) -> None:
    lock = store.parent / "s.h5.lock"
    os.link(treasure / "year.txt", lock)
    with pytest.raises(StoreError, match="expected an empty file"):
        _change(store)
    assert _untouched(treasure)
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(StoreError, match="expected an empty file"):
        _change(store)
    lock.unlink()
    lock.touch()  # of a process that was killed
    _change(store)
    assert not lock.exists()


@pytest.mark.parametrize("target", [".", "nothing", "year.txt"])
def test_a_folder_of_units_that_is_a_link_is_refused(target: str, store: Path, treasure: Path) -> None:
    parts = store.parent / "s.h5.parts"
    parts.symlink_to(treasure / target)
    with pytest.raises(StoreError, match="found a link") as caught:
        _change(store)
    assert "s.h5.parts" in caught.value.hint
    assert _untouched(treasure)
    assert not (treasure / "nothing").exists()
    assert parts.is_symlink()


def test_units_that_are_links_are_replaced_or_removed_and_never_followed(store: Path, treasure: Path) -> None:
    units = Units(store, {"a": 1})
    units.folder.mkdir()
    units.path("x").symlink_to(treasure / "year.txt")
    assert not units.has("x")
    assert units.read("x") is None
    units.write("x", np.arange(2.0))
    assert not units.path("x").is_symlink()
    units.path("y").symlink_to(treasure / "nothing")
    units.clear()
    assert _untouched(treasure)
    assert not units.folder.exists()


def test_files_of_the_users_among_the_units_stay(store: Path) -> None:
    units = Units(store, {"a": 1})
    units.write("x", np.arange(2.0))
    other, folder = units.folder / "thesis.tex", units.folder / f"z-{units.hash}.unit"
    other.write_text(TREASURE)
    folder.mkdir()
    units.clear()
    sweep(store)
    assert other.read_text() == TREASURE
    assert folder.is_dir()
    assert not units.has("x")


def _unit(units: Units, header: object, raw: bytes) -> None:
    units.folder.mkdir(exist_ok=True)
    units.path("x").write_bytes(json.dumps(header).encode() + b"\n" + raw)


def test_a_unit_that_is_forged_or_of_another_shape_is_made_again(store: Path) -> None:
    units = Units(store, {"a": 1})
    raw = np.arange(6.0).tobytes()
    sound = {
        "key": "x",
        "configuration": units.hash,
        "dtype": "<f8",
        "shape": [2, 3],
        "crc32": zlib.crc32(raw),
    }
    _unit(units, sound, raw)
    assert units.read("x", (2, 3)) is not None
    assert units.read("x", (2, None)) is not None
    assert units.read("x", (3, 2)) is None
    assert units.read("x", (6,)) is None
    for wrong in (
        {"dtype": "O"}, {"dtype": "V48"}, {"dtype": "<U2"}, {"dtype": 3}, {"dtype": [["a", "O"]]}, {"shape": [3]},
        {"shape": [-2, -3]}, {"shape": ["2", "3"]}, {"shape": 6}, {"shape": [1 << 70, 0]}, {"crc32": 1},
        {"configuration": "other"},
    ):  # fmt: skip
        _unit(units, sound | wrong, raw)
        assert units.read("x") is None, wrong
    for header in ([], "x", None, {}):
        _unit(units, header, raw)
        assert units.read("x") is None
    units.path("x").unlink()
    os.mkfifo(units.path("x"))
    assert units.read("x") is None


def test_a_store_that_is_a_link_stays_one_and_its_file_is_replaced(store: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "case.h5"
    link.parent.mkdir()
    link.symlink_to(os.path.relpath(store, link.parent))
    before = store.stat().st_ino
    _change(link)
    assert link.is_symlink()
    assert store.stat().st_ino != before
    assert [path.name for path in link.parent.iterdir()] == ["case.h5"]
    with open_store(link) as one, open_store(store) as two:
        assert one.run == two.run
    with locked(store), pytest.raises(StoreError, match="in use"), locked(link):
        pass


def test_a_store_that_is_a_link_to_nothing_is_refused(opsig: Opsig, case: Path, tmp_path: Path) -> None:
    link = tmp_path / "l.h5"
    link.symlink_to(tmp_path / "nothing.h5")
    done = opsig("trace", case / "run", "--store", link)
    assert done.code == 3
    assert "a link to" in done.err
    assert not (tmp_path / "nothing.h5").exists()


def test_a_store_that_is_a_link_to_something_else_leaves_it(opsig: Opsig, case: Path, treasure: Path) -> None:
    link = case / "l.h5"
    link.symlink_to(treasure / "year.txt")
    for words in (("trace", case / "run"), ("trace", case / "run", "--fresh"), ("mine",), ("report",)):
        assert opsig(*words, "--store", link).code == 3, words
    assert _untouched(treasure)
    assert link.is_symlink()


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664, 0o444])
def test_a_store_keeps_its_mode(mode: int, store: Path) -> None:
    store.chmod(mode)
    _change(store)
    assert store.stat().st_mode & 0o777 == mode


def test_a_new_store_has_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_anew(tmp_path / "s.h5")
    finally:
        os.umask(before)
    assert (tmp_path / "s.h5").stat().st_mode & 0o777 == 0o640


def test_a_store_keeps_its_owner_and_group(store: Path) -> None:
    if os.geteuid() == 0:  # others may give a file to a group of theirs alone
        os.chown(store, 1234, 2345)
    else:
        os.chown(store, -1, os.getgroups()[-1])
    before = store.stat()
    _change(store)
    after = store.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_a_report_replaces_a_link_and_does_not_follow_it(tmp_path: Path, treasure: Path) -> None:
    link = tmp_path / "opsig-report.html"
    link.symlink_to(treasure / "year.txt")
    write_file(link, lambda file: file.write(b"report"))
    assert _untouched(treasure)
    assert link.read_bytes() == b"report"
    assert not link.is_symlink()


def test_what_is_no_file_is_never_taken_away(tmp_path: Path) -> None:
    """Run by the superuser, that would be a device of the whole machine."""
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(place))
        with pytest.raises(StoreError, match="it is a socket, not a file"):
            write_file(place, lambda file: file.write(b"report"))
        assert stat.S_ISSOCK(place.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_report_goes_into_a_pipe_and_the_pipe_stays(tmp_path: Path) -> None:
    place = tmp_path / "pipe"
    os.mkfifo(place)
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    write_file(place, lambda file: file.write(b"report"))
    assert os.read(reader, 100) == b"report"
    os.close(reader)
    assert stat.S_ISFIFO(place.lstat().st_mode)


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "pipe"
    os.mkfifo(place)
    with pytest.raises(StoreError, match="nobody reads the pipe") as caught:
        write_file(place, lambda file: file.write(b"report"))
    assert "start its reader first" in caught.value.hint


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_trace_does_not_take_the_place_of_a_pipe_behind_a_link(
    opsig: Opsig, tmp_path: Path, fresh: tuple[str, ...]
) -> None:
    run, store, pipe = tmp_path / "run", tmp_path / "s.h5", tmp_path / "pipe"
    os.mkfifo(pipe)
    store.symlink_to(pipe)
    opsig("train", run, "--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", 2)
    refused = opsig("trace", run, "--store", store, *fresh)
    assert refused.code == 3
    assert "found a named pipe" in refused.err
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert store.is_symlink()


def test_what_a_killed_process_left_of_an_output_goes_with_the_next_one(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "here"
    dead, alive = (tmp_path / f"r.html.{host}.{process}-0123abcd.tmp" for process in (child.pid, os.getpid()))
    other = tmp_path / f"other.html.{host}.{child.pid}-0123abcd.tmp"
    for path in (dead, alive, other):
        path.write_bytes(b"half")
    write_file(tmp_path / "r.html", lambda file: file.write(b"report"))
    assert (tmp_path / "r.html").read_bytes() == b"report"
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()

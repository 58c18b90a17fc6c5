"""A trace survives whatever ends it, and what was finished is never computed again."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig, Result

from opsigcli.objective.evaluate import Evaluator
from opsigcli.store import beside
from opsigcli.store.beside import sweep
from opsigcli.store.reader import open_store
from opsigcli.store.units import Units

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Nine checkpoints with their manifest."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished / "run" / "opsig-run.toml", folder)
    for step in range(0, 9):
        shutil.copy(finished / "run" / f"step-{step:06d}.safetensors", folder)
    return folder


def _store(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["losses"][()])


def _failing_after(count: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Evaluator.losses, iter(range(count))

    def losses(self: Evaluator) -> np.ndarray:
        if next(calls, None) is None:
            raise error
        return real(self)

    monkeypatch.setattr(Evaluator, "losses", losses)


def _resumed(opsig: Opsig, run: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, int]:
    """The same trace run again, and how many units it computed."""
    monkeypatch.undo()
    result = opsig("trace", run, "--store", store, "--json")
    return result, result.json["result"]["units_computed"]


def test_ctrl_c_keeps_what_is_finished_and_names_the_command_that_goes_on(
    opsig: Opsig, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, undisturbed = tmp_path / "s.h5", tmp_path / "u.h5"
    opsig("trace", run, "--store", undisturbed)
    _failing_after(4, KeyboardInterrupt(), monkeypatch)
    result = opsig("trace", run, "--store", store)
    assert result.code == 130
    assert "4 checkpoints are traced and kept" in result.err
    assert "resume with: opsig" in result.err
    assert _store(store).shape == (4, 400)  # what there is can be mined already
    result, computed = _resumed(opsig, run, store, monkeypatch)
    assert (result.code, computed) == (0, 5)
    np.testing.assert_array_equal(_store(store), _store(undisturbed))


@pytest.mark.slow
def test_sigterm_ends_a_process_tidily(run: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    words = [sys.executable, "-m", "opsigcli", "trace", str(run), "--store", str(store), "--watch"]
    process = subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not store.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"resume with: opsig trace" in errors
    assert b"Traceback" not in errors
    assert _store(store).shape == (9, 400)


def test_a_full_disk_keeps_finished_units(
    opsig: Opsig, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.h5"
    real, calls = os.fsync, iter(range(3))

    def full(handle: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(beside.os, "fsync", full)
    result = opsig("trace", run, "--store", store)
    assert result.code == 3
    assert "disk is full" in result.err
    assert not store.exists()
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(list((tmp_path / "s.h5.parts").glob("*.unit"))) == 3
    result, computed = _resumed(opsig, run, store, monkeypatch)
    assert (result.code, computed) == (0, 6)


def test_a_checkpoint_that_cannot_be_read_in_the_middle_is_left_out_and_traced_once_it_is_whole(
    opsig: Opsig, run: Path, tmp_path: Path
) -> None:
    store, bad = tmp_path / "s.h5", run / "step-000004.safetensors"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-40])
    result = opsig("trace", run, "--store", store, "--json")
    assert result.code == 4
    assert list(result.json["result"]["failed"]) == [bad.name]
    assert result.json["result"]["steps"] == [0, 1, 2, 3, 5, 6, 7, 8]
    bad.write_bytes(whole)
    result = opsig("trace", run, "--store", store, "--json")
    assert result.code == 0
    assert result.json["result"]["units_computed"] == 1
    assert result.json["result"]["steps"] == list(range(9))


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = store.with_name(f"s.h5.{beside._HOST}.{process.pid}.tmp")
    alive = store.with_name(f"s.h5.{beside._HOST}.{os.getpid()}.tmp")
    elsewhere = store.with_name(f"s.h5.another-machine.{process.pid}.tmp")
    in_parts = tmp_path / "s.h5.parts" / f"losses-0-a.unit.{beside._HOST}.{process.pid}.tmp"
    in_parts.parent.mkdir()
    for path in (dead, alive, elsewhere, in_parts):
        path.write_bytes(b"half")
    sweep(store)
    assert [path.exists() for path in (dead, alive, elsewhere, in_parts)] == [False, True, True, False]


def test_a_damaged_unit_is_computed_again(
    opsig: Opsig, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, undisturbed = tmp_path / "s.h5", tmp_path / "u.h5"
    opsig("trace", run, "--store", undisturbed)
    _failing_after(5, ZeroDivisionError(), monkeypatch)
    with pytest.raises(AssertionError, match="unexpected error"):  # what nobody foresaw
        opsig("trace", run, "--store", store)
    kept = sorted((tmp_path / "s.h5.parts").glob("*.unit"))
    assert len(kept) == 5
    raw = bytearray(kept[2].read_bytes())
    raw[-3] ^= 1
    kept[2].write_bytes(raw)
    result, computed = _resumed(opsig, run, store, monkeypatch)
    assert (result.code, computed) == (0, 4)  # the damage shows when units are merged
    np.testing.assert_array_equal(_store(store), _store(undisturbed))


def test_a_unit_of_another_configuration_is_not_taken(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    Units(store, {"batch_size": 1}).write("a", np.arange(3.0))
    assert Units(store, {"batch_size": 2}).read("a") is None
    np.testing.assert_array_equal(Units(store, {"batch_size": 1}).read("a"), np.arange(3.0))


def test_the_same_trace_is_the_same_file(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    found = []
    for _ in range(2):
        assert opsig("trace", run, "--store", store, "--fresh").code == 0
        found.append(store.read_bytes())
        store.unlink()
    assert found[0] == found[1]


@pytest.mark.slow
def test_watching_traces_checkpoints_as_they_come_and_ends_with_the_last_step(
    opsig: Opsig, finished: Path, tmp_path: Path
) -> None:
    run, store = tmp_path / "live", tmp_path / "s.h5"
    run.mkdir()
    code = (
        "import shutil, sys, time\nfrom pathlib import Path\nsource, run = map(Path, sys.argv[1:])\n"
        "shutil.copy(source / 'opsig-run.toml', run)\n"
        "for step in (0, 1, 2, 30, 60, 119, 120):\n"
        "    name = f'step-{step:06d}.safetensors'\n"
        "    raw = (source / name).read_bytes()\n"
        "    (run / name).write_bytes(raw[:200]); time.sleep(0.3); (run / name).write_bytes(raw)\n"
        "    time.sleep(0.4)\n"
    )
    # The manifest names checkpoints that are not there yet; a half-written one is tried again.
    writer = subprocess.Popen([sys.executable, "-c", code, str(finished / "run"), str(run)])
    result = opsig("trace", run, "--store", store, "--watch", "--idle", 30, "--json")
    assert writer.wait() == 0
    assert result.code == 0, result.err
    assert result.json["result"]["steps"] == [0, 1, 2, 30, 60, 119, 120]
    with open_store(store) as watched, open_store(finished / "opsig.h5") as whole:
        for row, step in enumerate((0, 1, 2, 30, 60, 119, 120)):
            np.testing.assert_array_equal(watched.losses_at(row), whole.losses_at(step))


def test_watching_a_folder_where_nothing_comes_ends_with_an_error(opsig: Opsig, tmp_path: Path) -> None:
    result = opsig("trace", tmp_path, "--store", tmp_path / "s.h5", "--watch", "--idle", 0)
    assert result.code == 3
    assert "hint: " in result.err

"""Paths in a store: relative to it or to the home folder, found again from anywhere, and never a user's name."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig

from opsigcli.outcome import plain
from opsigcli.store.paths import as_here, as_stored
from opsigcli.store.reader import open_store
from opsigcli.store.replacing import TEXT, replace_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run and its store."""
    from opsigcli.cli.app import run

    folder = tmp_path_factory.mktemp("own") / "project"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.normal(size=(40, 4)).astype(np.float32), y=np.arange(40) % 2)
    data = f"npz:{folder / 'd.npz'}?standardize=channel"
    for words in (
        ["train", folder / "run", "--model", "mlp?hidden=4", "--data", data, "--steps", 12],
        ["trace", folder / "run", "--store", folder / "opsig.h5"],
        ["sharpness", "--store", folder / "opsig.h5", "--every", 6],
    ):
        assert run([*map(str, words), "--quiet"]) == 0
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy elsewhere; the place where it was made is not there."""
    away = made.with_name("away")
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    made.rename(away)
    try:
        yield copy  # type: ignore[misc]
    finally:
        away.rename(made)


def run_text(store: Path) -> str:
    with h5py.File(store) as file:
        return str(file["run"].asstr()[()])


def test_a_store_says_of_what_lies_beside_it_only_where_it_is_from_there(made: Path) -> None:
    text = run_text(made / "opsig.h5")
    assert str(made) not in text
    assert '"$STORE/run"' in text
    assert '"npz:$STORE/d.npz?standardize=channel"' in text
    with open_store(made / "opsig.h5") as store:
        assert store.run.checkpoints == str(made / "run")
        assert store.run.data == f"npz:{made / 'd.npz'}?standardize=channel"


def test_commands_find_checkpoints_and_data_from_any_folder(
    made: Path, tmp_path: Path, opsig: Opsig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Path(shutil.copy(made / "opsig.h5", made / "second.h5"))
    monkeypatch.chdir(tmp_path)
    for words in (["mine", "--surrogates", 0], ["sharpness", "--every", 4], ["report"]):
        done = opsig(*words, "--store", store, "--quiet")
        assert done.code == 0, done.err
    store.unlink()


def test_a_page_names_what_lies_beside_the_store_from_there(made: Path, tmp_path: Path, opsig: Opsig) -> None:
    page = tmp_path / "page.html"
    assert opsig("report", "--store", made / "opsig.h5", "-o", page).code == 0
    text = page.read_text()
    assert str(made) not in text
    assert ">run<" in text
    assert "npz:d.npz?standardize=channel" in text


def test_a_folder_that_moves_takes_its_store_along(project: Path, opsig: Opsig) -> None:
    store = project / "opsig.h5"
    assert opsig("sharpness", "--store", store, "--every", 4, "--quiet").code == 0
    done = opsig(
        "trace", project / "run", "--data", f"npz:{project / 'd.npz'}?standardize=channel", "--store", store
    )
    assert done.code == 0, done.err


def test_a_copy_of_the_store_alone_is_of_the_same_run(made: Path, tmp_path: Path, opsig: Opsig) -> None:
    copy = Path(shutil.copy(made / "opsig.h5", tmp_path / "copy.h5"))
    (tmp_path / "run").mkdir()  # of another run, which is not looked at
    assert opsig("sharpness", "--store", copy, "--every", 3, "--quiet").code == 0
    with open_store(copy) as store:
        assert store.run.checkpoints == str(made / "run")
        assert store.run.data == f"npz:{made / 'd.npz'}?standardize=channel"


def test_of_a_run_and_a_store_that_moved_out_of_a_folder_that_stays_the_new_place_is_looked_at(
    made: Path, tmp_path: Path, opsig: Opsig
) -> None:
    old, new = (Path(shutil.copytree(made, tmp_path / name)) for name in ("old", "new"))
    data = f"npz:{old / 'd.npz'}?standardize=channel"
    words = ("trace", old / "run", "--data", data, "--store", old / "s.h5", "--quiet")
    assert opsig(*words).code == 0
    shutil.rmtree(old / "run")
    (old / "s.h5").rename(new / "s.h5")
    with open_store(new / "s.h5") as store:
        assert store.run.checkpoints == str(new / "run")
    assert opsig("sharpness", "--store", new / "s.h5", "--every", 6, "--quiet").code == 0


def test_a_store_with_absolute_paths_opens_and_keeps_its_results_when_it_is_traced_again(
    made: Path, opsig: Opsig
) -> None:
    store = Path(shutil.copy(made / "opsig.h5", made / "older.h5"))
    absolute = run_text(store).replace("$STORE", str(made))

    def older(file: h5py.File) -> None:
        del file["run"]
        file.create_dataset("run", data=absolute, dtype=TEXT)

    replace_store(store, older, 0)
    with open_store(store) as opened:
        run, points = opened.run, opened.sharpness
    assert run.checkpoints == str(made / "run")
    moved = made / "step-000003.safetensors"
    (made / "run" / moved.name).rename(moved)  # as if it came later
    assert opsig("trace", made / "run", "--store", store, "--fresh", "--quiet").code == 0
    moved.rename(made / "run" / moved.name)
    with open_store(store) as opened:
        assert plain(opened.sharpness) == plain(points)
        assert opened.run == run
    assert "$STORE/run" in run_text(store)
    store.unlink()


def test_a_home_folder_stands_in_no_part_of_a_store(
    made: Path, tmp_path: Path, opsig: Opsig, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "ada"
    shutil.copytree(made, home / "project")
    monkeypatch.setenv("HOME", str(home))
    data = f"npz:{home / 'project' / 'd.npz'}?standardize=channel"
    store = tmp_path / "elsewhere.h5"
    words = ("trace", home / "project" / "run", "--data", data, "--store", store)
    assert opsig(*words, "--quiet").code == 0
    assert opsig("sharpness", "--store", store, "--every", 6, "--data", data, "--quiet").code == 0
    assert str(home).encode() not in store.read_bytes()
    assert '"$HOME/project/run"' in run_text(store)
    with open_store(store) as opened:
        assert opened.run.checkpoints == str(home / "project" / "run")
        assert opened.provenance["sharpness"].options["data"] == data
    again = opsig("sharpness", "--store", store, "--every", 6, "--data", data, "--json")
    assert again.code == 0, again.err
    results = opsig("report", "--store", store, "--json").json["result"]["results"]
    assert len([result for result in results if result["command"] == "sharpness"]) == 1


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("/p/own/run", "$STORE/run"),
        ("/p/own", "$STORE"),
        ("npz:/p/own/d.npz?weights=/p/own/w.npy", "npz:$STORE/d.npz?weights=$STORE/w.npy"),
        ("file:/p/own/net.py:Net", "file:$STORE/net.py:Net"),
        ("/p/ownership/run", "/p/ownership/run"),
        ("/data/p/own/run", "/data/p/own/run"),
        ("/p/own/$HOME/x", "$STORE/$HOME/x"),
        ("mlp?hidden=3", "mlp?hidden=3"),
    ],
)
def test_paths_are_shortened_where_they_begin_and_come_back_as_they_were(text: str, stored: str) -> None:
    assert as_stored({"x": [text]}, "/p/own") == {"x": [stored]}
    assert as_here({"x": [stored]}, "/p/own") == {"x": [text]}

"""Bad input: a clear error, the right exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig, Result

from opsigcli.store import beside
from opsigcli.store.reader import open_store

MODEL = ("--model", "mlp?hidden=32,32", "--data", "planted?n=400")


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def ckpts(finished: Path, tmp_path: Path) -> Path:
    """Four checkpoints without a manifest."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in (0, 40, 80, 120):
        shutil.copy(finished / "run" / f"step-{step:06d}.safetensors", folder)
    return folder


def _refused(result: Result, code: int, *words: str) -> None:
    assert result.code == code
    assert result.out == ""
    for word in words:
        assert word in result.err, result.err
    assert "hint: " in result.err


def test_an_empty_folder_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(opsig("trace", tmp_path / "empty", *MODEL), 3, "empty folder")


def test_a_missing_folder_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    _refused(opsig("trace", tmp_path / "none", *MODEL), 3, "found nothing at")


def test_a_file_that_is_no_checkpoint_is_named_and_not_its_folder(
    opsig: Opsig, ckpts: Path, case: Path
) -> None:
    (ckpts / "notes.csv").write_text("a,b\n")
    for words in (
        ("trace", case / "opsig.h5"),
        ("init", case / "opsig.h5"),
        ("inspect", ckpts / "notes.csv"),
    ):
        _refused(opsig(*words), 3, f"found the file {words[1]}")


def test_data_without_a_part_to_trace_are_refused_by_the_option(opsig: Opsig, ckpts: Path) -> None:
    for words in (("--examples", 20), ("--tokens",)):
        done = opsig("trace", ckpts, *MODEL, *words)
        assert (done.code, words[0] in done.err.partition("hint:")[0]) == (2, True)


def test_one_checkpoint_is_enough_for_losses_and_sharpness_but_not_for_mining(
    opsig: Opsig, ckpts: Path, tmp_path: Path
) -> None:
    for name in ("step-000040", "step-000080", "step-000120"):
        (ckpts / f"{name}.safetensors").unlink()
    store = tmp_path / "one.h5"
    traced = opsig("trace", ckpts, *MODEL, "--store", store)
    assert traced.code == 0
    assert "need two" in traced.err
    measured = opsig("sharpness", "--store", store, "--secant", "--json")
    assert measured.code == 0
    (point,) = measured.json["result"]["points"]
    assert point["converged"]
    assert point["secant"] is None
    assert opsig("report", "--store", store, "--html", "--output", tmp_path / "one.html").code == 0
    _refused(opsig("mine", "--store", store), 3, "at least two checkpoints", "found 1 in the trace")


def test_neither_model_nor_manifest_is_a_usage_error(opsig: Opsig, ckpts: Path) -> None:
    _refused(opsig("trace", ckpts), 2, "--model and --data")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "pickled"])
def test_one_bad_checkpoint_leaves_the_others_traced(
    opsig: Opsig, ckpts: Path, tmp_path: Path, damage: str
) -> None:
    bad, marker = ckpts / "step-000090.pt", tmp_path / "marker"
    if damage == "truncated":
        bad = ckpts / "step-000080.safetensors"
        bad.write_bytes(bad.read_bytes()[:-100])
    elif damage == "garbage":
        bad.write_bytes(b"garbage" * 100)
    else:
        torch.save({"weights": Payload(marker)}, bad)
    result = opsig("trace", ckpts, *MODEL, "--store", tmp_path / "s.h5")
    assert result.code == 4
    assert bad.name in result.err
    assert not marker.exists()
    with open_store(tmp_path / "s.h5") as store:
        assert {0, 40, 120} <= set(store.trace.steps.tolist())


def test_a_pickle_with_code_is_refused_and_never_run(opsig: Opsig, tmp_path: Path) -> None:
    folder, marker = tmp_path / "ckpts", tmp_path / "marker"
    folder.mkdir()
    for step in (1, 2):
        (folder / f"step_{step}.pt").write_bytes(pickle.dumps({"w": Payload(marker)}))
    result = opsig("trace", folder, *MODEL)
    _refused(result, 3)
    assert not marker.exists()


def test_weights_that_do_not_fit_name_the_nearest_keys(opsig: Opsig, ckpts: Path) -> None:
    result = opsig("trace", ckpts, "--model", "mlp?hidden=32", "--data", "planted?n=400")
    _refused(result, 3, "nearest", "weight", "unexpected")


def test_a_label_out_of_range_names_the_example(opsig: Opsig, ckpts: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 3, 4, 9])
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(6, 3, 10, 10)).astype(np.float32), y=labels)
    factory = tmp_path / "net.py"
    factory.write_text(
        "import torch\ndef make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(300, 5))\n"
    )
    for step in (1, 2):
        torch.save({"1.weight": torch.zeros(5, 300), "1.bias": torch.zeros(5)}, tmp_path / f"step_{step}.pt")
    words = ("trace", tmp_path, "--model", f"file:{factory}:make", "--data", f"npz:{tmp_path / 'd.npz'}")
    _refused(opsig(*words), 3, "label 9", "5 outputs", "example 5")


def test_nan_losses_are_recorded_and_reported(opsig: Opsig, ckpts: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = ckpts / "step-000080.safetensors"
    weights = {name: tensor * float("nan") for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"step": "80"})
    result = opsig("trace", ckpts, *MODEL, "--store", tmp_path / "s.h5", "--json")
    assert result.code == 0
    assert result.json["result"]["not_finite_steps"] == [80]
    assert any("not finite" in warning for warning in result.json["warnings"])
    mined = opsig("mine", "--store", tmp_path / "s.h5", "--json")
    assert mined.code == 0
    assert any("no finite loss" in note for note in mined.json["result"]["notes"])
    assert opsig("sharpness", "--store", tmp_path / "s.h5").code == 0
    assert opsig("report", "--store", tmp_path / "s.h5", "--html", "-o", tmp_path / "r.html").code == 0


def test_a_store_of_another_run_is_not_touched(opsig: Opsig, ckpts: Path, case: Path, tmp_path: Path) -> None:
    store = case / "opsig.h5"
    before = store.read_bytes()
    other = tmp_path / "other"
    opsig("train", other, "--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--steps", 3, "--seed", 9)
    _refused(opsig("trace", other, "--store", store), 3, "another run", "at checkpoint 0")
    words = ("--model", "mlp?hidden=32,32", "--data", "planted?n=400&seed=3")
    _refused(opsig("trace", ckpts, *words, "--store", store), 3, "another run", "fingerprint")
    assert store.read_bytes() == before


@pytest.mark.slow
def test_a_full_disk_leaves_the_store_untouched(
    opsig: Opsig, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = case / "opsig.h5"
    before = store.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(beside.os, "fsync", full)
    for words in (
        ("trace", case / "run", "--fresh"),
        ("mine", "--top", 7),
        ("sharpness", "--fresh", "--every", 60),
    ):
        _refused(opsig(*words, "--store", store), 3, "disk is full", "untouched")
    monkeypatch.undo()
    assert store.read_bytes() == before
    assert not list(case.glob("*.tmp"))
    assert opsig("trace", case / "run", "--store", store, "--fresh").code == 0


@pytest.mark.slow
def test_room_is_made_sure_of_before_hdf5_writes(
    opsig: Opsig, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = case / "opsig.h5"
    before, asked = store.read_bytes(), []

    def full(_handle: int, _offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(beside.os, "posix_fallocate", full)
    for words in (
        ("trace", case / "run", "--fresh"),
        ("mine", "--top", 7),
        ("sharpness", "--fresh", "--every", 60),
    ):
        _refused(opsig(*words, "--store", store), 3, "disk is full", "untouched")
    assert min(asked) > len(before)
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "mpl"), "did you mean 'mlp'"),
        (("--model", "torchvision:resnet19"), "resnet18"),
        (("--data", "foldr:x"), "did you mean 'folder'"),
        (("--data", "planted?nn=3"), "did you mean 'n'"),
        (("--loss", "cee"), "did you mean 'ce'"),
        (("--optimizer", "adm"), "adam"),
        (("--model", "py:nowhere.at_all:make"), "nowhere"),
        (("--device", "cuda:99"), "--device cpu"),
    ],
)
def test_an_unknown_spec_lists_what_is_close(
    opsig: Opsig, tmp_path: Path, words: tuple[str, str], message: str
) -> None:
    result = opsig("train", tmp_path / "run", *words, "--steps", 1)
    assert result.code in (2, 3)
    assert message in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize("how", ["missing", "unreadable"])
def test_a_bad_image_is_named(opsig: Opsig, tmp_path: Path, how: str) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number * 50, 0, 0)).save(tmp_path / "images" / label / f"{number}.png")
    bad = tmp_path / "images" / "b" / "1.png"
    words = ("--data", f"folder:{tmp_path / 'images'}", "--model", "mlp?hidden=4")
    run, store = tmp_path / "run", tmp_path / "s.h5"
    assert opsig("train", run, *words, "--steps", 2).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    if how == "missing":
        bad.unlink()
        bad.symlink_to(tmp_path / "gone.png")
    else:
        bad.write_bytes(bad.read_bytes()[:40])
    before = store.read_bytes()
    _refused(opsig("trace", run, "--store", store), 3, "b/1.png")
    _refused(opsig("sharpness", "--store", store), 3, "b/1.png")
    assert store.read_bytes() == before


def test_a_checkpoint_changed_after_tracing_is_not_measured(opsig: Opsig, case: Path) -> None:
    shutil.copy(case / "run" / "step-000000.safetensors", case / "run" / "step-000060.safetensors")
    with h5py.File(case / "opsig.h5", "r+") as file:
        run = json.loads(file["run"].asstr()[()]) | {"checkpoints": str(case / "run")}
        file["run"][()] = json.dumps(run)
    result = opsig("sharpness", "--store", case / "opsig.h5", "--every", 60, "--fresh", "--json")
    assert result.code == 4
    assert "was changed since it was traced" in result.json["result"]["failed"]["step-000060.safetensors"]
    assert [point["step"] for point in result.json["result"]["points"]] == [0, 120]


def test_a_folder_that_was_moved_is_found_again_by_a_trace_of_it(
    opsig: Opsig, ckpts: Path, tmp_path: Path
) -> None:
    store, now = tmp_path / "moved.h5", tmp_path / "now"
    words = (*MODEL, "--store", store)
    assert opsig("trace", ckpts, *words).code == 0
    before = store.read_bytes()
    ckpts.rename(now)
    done = opsig("sharpness", "--store", store, "--every", 9)
    assert (done.code, "trace the folder that holds the checkpoints now" in done.err) == (3, True)
    assert store.read_bytes() == before
    again = opsig("trace", now, *words, "--json").json["result"]
    assert (again["units_computed"], {one["status"] for one in again["checkpoints"]}) == (0, {"kept"})
    assert opsig("sharpness", "--store", store, "--every", 9).code == 0


def test_a_missing_store_says_how_to_make_one(opsig: Opsig, tmp_path: Path) -> None:
    for verb in ("mine", "sharpness", "report"):
        _refused(opsig(verb, "--store", tmp_path / "no.h5"), 3, "opsig trace")


def test_something_else_is_no_store(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"nothing of the kind")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["a"] = 1
    _refused(opsig("report", "--store", tmp_path / "x.h5"), 3, "no readable HDF5")
    _refused(opsig("report", "--store", tmp_path / "y.h5"), 3, "another kind of HDF5")


def test_a_store_of_a_newer_opsig_is_refused_by_name(opsig: Opsig, case: Path) -> None:
    with h5py.File(case / "opsig.h5", "r+") as file:
        file.attrs["format_version"] = 99
    _refused(opsig("report", "--store", case / "opsig.h5"), 3, "format 99", "upgrade")


def test_a_store_in_use_is_not_written(opsig: Opsig, case: Path) -> None:
    from opsigcli.store.lock import locked

    with locked(case / "opsig.h5"):
        _refused(opsig("mine", "--store", case / "opsig.h5"), 3, "in use by another opsig")


def test_code_named_by_a_strange_manifest_is_not_run(opsig: Opsig, tmp_path: Path) -> None:
    marker, net = tmp_path / "marker", tmp_path / "net.py"
    net.write_text(
        f"import pathlib, torch\npathlib.Path({str(marker)!r}).touch()\n"
        "def make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(300, 6))\n"
    )
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--model", f"file:{net}:make", "--data", "planted?n=200")
    assert opsig("train", run, *words, "--steps", 2).code == 0
    assert opsig("trace", run, "--store", store).code == 0  # this user's own manifest is trusted
    marker.unlink()
    os.environ["XDG_STATE_HOME"] = str(tmp_path / "somebody-else")
    _refused(opsig("trace", run, "--store", tmp_path / "t.h5"), 3, "names code to run", "--trust-manifest")
    _refused(opsig("sharpness", "--store", store), 3, "names code to run")
    assert not marker.exists()
    assert opsig("trace", run, "--store", tmp_path / "t.h5", "--trust-manifest").code == 0


def test_an_error_under_json_is_json(opsig: Opsig, tmp_path: Path) -> None:
    for words, code in (
        (("trace", tmp_path / "none", *MODEL), 3),
        (("mine", "--top", "0"), 2),
        (("trac",), 2),
    ):
        result = opsig(*words, "--json")
        assert result.code == code
        assert result.json["error"]["code"] == code
        assert result.json["error"]["hint"]


def test_a_run_without_any_finite_loss_has_no_pairs_and_no_bug(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "net.py").write_text("import torch\ndef net(): return torch.nn.Linear(3, 2)\n")
    np.savez(tmp_path / "d.npz", x=np.eye(3, dtype=np.float32), y=[0, 1, 0])
    for step in range(3):
        weights = {"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}
        torch.save({"model": weights, "step": step}, tmp_path / "run" / f"step_{step}.pt")
    model, data = f"file:{tmp_path}/net.py:net", f"npz:{tmp_path}/d.npz"
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", "--model", model, "--data", data)
    for _ in range(2):
        done = opsig("mine", "--store", tmp_path / "s.h5", "--json")
        assert (done.code, done.json["result"]["pairs"]) == (0, [])
        assert "no pairs were sought: no two checkpoints" in str(done.json["result"]["notes"])

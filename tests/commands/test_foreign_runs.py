"""Runs of Lightning, the Hugging Face Trainer, timm, torchvision, Accelerate and FSDP2, traced from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.checkpoints.series import open_series
from opsigcli.runs.optimizer_state import state_by_parameter

pytestmark = pytest.mark.slow  # runs of whole frameworks

# What has to be said beside the folder and the data: at most a model, and which of two sets of weights.
WORDS = {
    "lightning": ["--model", "file:{run}/net.py:make"],
    "accelerate": ["--model", "file:{run}/net.py:make"],
    "fsdp2": ["--model", "file:{run}/net.py:make"],
    "trainer": ["--model", "hf:{run}/ckpts/checkpoint-2"],
    "timm": ["--model", "timm:test_resnet", "--weights", "model"],
    "torchvision": ["--model", "torchvision:squeezenet1_1", "--weights", "model"],
}
STORED = ("--batch-norm", "stored")  # the losses of the frameworks are those of eval mode
FOLDER = {"accelerate": "ckpts/checkpoints"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run by name; all are made at once, two at a time, each in a process of its own."""
    root = tmp_path_factory.mktemp("foreign")
    script = Path(__file__).parents[1] / "foreign_runs.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}

    def make(name: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, str(script), name, str(root / name)]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    pool = ThreadPoolExecutor(2)
    made = {name: pool.submit(make, name) for name in WORDS}

    def take(name: str) -> Path:
        done = made[name].result()
        assert done.returncode == 0, done.stderr[-3000:]
        return root / name

    return take


def data_of(run: Path) -> str:
    large = run / "large.npz"
    return f"npz:{large if large.exists() else run / 'data.npz'}"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_traced_losses_are_those_of_the_framework_itself(
    opsig: Opsig, runs: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    run = runs(name)
    words = [word.format(run=run) for word in WORDS[name]]
    store = tmp_path / "opsig.h5"
    done = opsig(
        "trace", run / FOLDER.get(name, "ckpts"), "--data", data_of(run), *words, *STORED, "--store", store
    )
    assert done.code == 0, done.err
    expected = np.load(run / "losses.npz")
    with h5py.File(store) as file:
        assert sorted(map(int, expected.files)) == file["steps"][()].tolist()
        for step, losses in zip(file["steps"][()], file["losses"][()], strict=True):
            np.testing.assert_allclose(losses, expected[str(step)], atol=1e-5, rtol=1e-5)


KNOWN: dict[str, dict[str, Any]] = {
    "lightning": {
        "format": "torch",
        "step_source": "content",
        "optimizer": "adam",
        "lr": 0.01,
        "steps": [2, 4, 6],
    },
    "accelerate": {
        "format": "folder",
        "step_source": "sidecar",
        "optimizer": "adamw",
        "lr": 0.01,
        "steps": [2, 4, 6],
    },
    "fsdp2": {"format": "dcp", "step_source": "content", "optimizer": "adam", "lr": 0.01, "steps": [2, 4]},
    "trainer": {"format": "folder", "step_source": "sidecar", "optimizer": "adamw", "steps": [2, 4, 6]},
    "timm": {
        "format": "torch",
        "step_source": "content",
        "optimizer": "nesterov",
        "lr": 0.01,
        "steps": [0, 1, 2],
    },
    "torchvision": {"format": "torch", "step_source": "content", "optimizer": "momentum", "steps": [0, 1, 2]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_inspect_says_what_the_framework_wrote(opsig: Opsig, runs: Callable[[str], Path], name: str) -> None:
    folder = runs(name) / FOLDER.get(name, "ckpts")
    result = opsig("inspect", folder, "--json").json["result"]
    known = dict(KNOWN[name])
    assert [row["step"] for row in result["checkpoints"]] == known.pop("steps")
    for row in result["checkpoints"]:
        assert {key: row[key] for key in known} == known
        assert row["dtype"] == "float32"
    assert not result["failed"]
    assert opsig("inspect", folder).code == 0


def test_hard_links_of_timm_and_lightning_are_counted_once(opsig: Opsig, runs: Callable[[str], Path]) -> None:
    timm = opsig("inspect", runs("timm") / "ckpts", "--json").json["result"]
    assert {item["file"]: item["reason"] for item in timm["skipped"]} == {
        "last.pth.tar": "the same file as checkpoint-2.pth.tar",
        "model_best.pth.tar": "the same file as checkpoint-2.pth.tar",
    }
    lightning = opsig("inspect", runs("lightning") / "ckpts", "--json").json["result"]
    assert [item["file"] for item in lightning["skipped"]] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("timm", "timm:test_resnet?num_classes=3"),
        ("torchvision", "torchvision:squeezenet1_1?num_classes=3"),
        ("trainer", "hf:"),
    ],
)
def test_the_model_that_fits_is_named_and_not_used(
    opsig: Opsig, runs: Callable[[str], Path], tmp_path: Path, name: str, spec: str
) -> None:
    run = runs(name)
    weights = ["--weights", "model"] if name != "trainer" else []
    done = opsig(
        "trace", run / "ckpts", "--data", data_of(run), *weights, *STORED, "--store", tmp_path / "s.h5"
    )
    assert done.code == 2
    assert spec in done.err
    assert not (tmp_path / "s.h5").exists()


def test_both_sets_of_weights_of_timm_are_there_to_choose(
    opsig: Opsig, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    run = runs("timm")
    words = ("trace", run / "ckpts", "--model", "timm:test_resnet", "--data", data_of(run), *STORED)
    told = opsig(*words, "--store", tmp_path / "m.h5")
    assert told.code == 0
    assert "the trained weights are read" in told.err
    assert opsig(*words, "--weights", "model", "--store", tmp_path / "m.h5").code == 0  # the same run
    assert opsig(*words, "--weights", "ema", "--store", tmp_path / "a.h5").code == 0
    with h5py.File(tmp_path / "a.h5") as file:
        losses = file["losses"][()]
    assert not np.allclose(losses[1], np.load(run / "losses.npz")["1"], atol=1e-4)
    series = open_series(run / "ckpts", weights="ema")
    loaded = torch.load(run / "ckpts/checkpoint-1.pth.tar", weights_only=False)["state_dict_ema"]
    assert all(torch.equal(value, loaded[key]) for key, value in series.read(1).items())


def test_second_moments_are_those_the_framework_saved(runs: Callable[[str], Path]) -> None:
    path = runs("lightning") / "ckpts" / "epoch=1-step=4.ckpt"
    saved = torch.load(path, weights_only=False)
    names = [name for name in saved["state_dict"] if "running" not in name and "batches" not in name]
    short = [name.removeprefix("net.") for name in names]
    shapes = [tuple(saved["state_dict"][name].shape) for name in names]
    found = state_by_parameter(path, short, shapes)
    for number, name in enumerate(short):
        expected = saved["optimizer_states"][0]["state"][number]
        assert torch.equal(found[name]["exp_avg_sq"], expected["exp_avg_sq"])
        assert float(found[name]["step"]) == float(expected["step"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightning", "trainer", "fsdp2"])
def test_sharpness_uses_the_second_moments_in_foreign_checkpoints(
    opsig: Opsig, runs: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    run, store = runs(name), tmp_path / "s.h5"
    words = [word.format(run=run) for word in WORDS[name]]
    assert opsig("trace", run / "ckpts", "--data", data_of(run), *words, "--store", store).code == 0
    points = opsig("sharpness", "--store", store, "--every", 5, "--json").json["result"]["points"]
    assert points[0]["preconditioned"] > 0
    assert points[0]["ratio"] == pytest.approx(points[0]["preconditioned"] / points[0]["threshold"])


def test_init_writes_what_trace_then_needs_no_words_for(
    opsig: Opsig, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    run = runs("trainer")
    folder = Path(shutil.copytree(run / "ckpts", tmp_path / "ckpts"))
    made = opsig("init", folder, "--model", f"hf:{folder}/checkpoint-2", "--data", data_of(run))
    assert made.code == 0, made.err
    traced = opsig("trace", folder, "--store", tmp_path / "s.h5", "--json")
    assert traced.code == 0
    expected = np.load(run / "losses.npz")
    np.testing.assert_allclose(
        traced.json["result"]["mean_losses"], [expected[str(step)].mean() for step in (2, 4, 6)], rtol=1e-5
    )
    assert traced.json["inputs"]["run"]["optimizer"] == "adamw"

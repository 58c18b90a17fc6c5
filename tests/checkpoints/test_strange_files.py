"""What is no regular file is never waited for, wherever a folder of checkpoints has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Opsig
from safetensors.torch import save_file

from opsigcli.options import EXAMPLE_WEIGHTS, MANIFEST

pytestmark = pytest.mark.usefixtures("no_hang")

MODEL = ("--model", "mlp?hidden=32,32", "--data", "planted?n=400")
NAMES = (
    "step_9.pt",
    "step_9.pth",
    "step_9.bin",
    "step_9.ckpt",
    "step_9.pth.tar",
    "step_9.safetensors",
    "step_9.gguf",
    "step_9.h5",
    "step_9.keras",
    "step_9.index",
    "step_9",
    "latest",
    "metrics.csv",
    "log.jsonl",
    "config.json",
    "trainer_state.json",
    "step-000000.json",
    "step-000040.json",
    ".metadata",
    "x.distcp",
    "saved_model.pb",
)


@pytest.fixture
def ckpts(finished: Path, tmp_path: Path) -> Path:
    """Three checkpoints without a manifest."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in (0, 40, 80):
        shutil.copy(finished / "run" / f"step-{step:06d}.safetensors", folder)
    return folder


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_strange_files_beside_checkpoints_are_left_out(opsig: Opsig, ckpts: Path, kind: str) -> None:
    for name in NAMES:
        if kind == "pipe":
            os.mkfifo(ckpts / name)
        else:
            (ckpts / name).symlink_to("/dev/zero")
    listed = opsig("inspect", ckpts, "--json")
    assert listed.code == 0, listed.err
    assert [row["step"] for row in listed.json["result"]["checkpoints"]] == [0, 40, 80]
    reasons = {row["file"]: row["reason"] for row in listed.json["result"]["skipped"]}
    assert reasons["step_9.bin"] == reasons["step_9.h5"] == ("a named pipe" if kind == "pipe" else "a device")
    assert opsig("trace", ckpts, *MODEL, "--store", ckpts.parent / "s.h5", "--quiet").code == 0


def test_strange_files_inside_the_folder_of_a_checkpoint_are_not_read(opsig: Opsig, tmp_path: Path) -> None:
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.ones(2)}, folder / "model.safetensors")
        for name in (
            "trainer_state.json",
            "config.json",
            "optimizer.pt",
            "training_args.bin",
            "rng_state.pth",
        ):
            os.mkfifo(folder / name)
    assert opsig("inspect", tmp_path, "--json").code == 0
    for name in ("model.safetensors", "model.safetensors.index.json", ".metadata", "pytorch_model.bin"):
        other = tmp_path / name / "checkpoint-3"
        other.mkdir(parents=True)
        os.mkfifo(other / name)
        assert opsig("inspect", other.parent).code == 3


@pytest.mark.parametrize("words", [("inspect",), ("trace", *MODEL), ("init", *MODEL)])
def test_a_pipe_or_a_device_in_place_of_a_folder_is_named(
    opsig: Opsig, tmp_path: Path, words: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        result = opsig(words[0], path, *words[1:])
        assert result.code == 3
        assert f"found {kind} at {path}" in result.err


def test_a_manifest_or_weights_of_examples_that_are_a_pipe_are_named(
    opsig: Opsig, ckpts: Path, tmp_path: Path
) -> None:
    os.mkfifo(ckpts / MANIFEST)
    for words in (("inspect", ckpts), ("trace", ckpts), ("train", ckpts, "--steps", 1)):
        result = opsig(*words)
        assert result.code == 3
        assert "it is a named pipe, not a regular file" in result.err
    run = tmp_path / "run"
    assert opsig("train", run, "--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", 1).code == 0
    os.mkfifo(run / EXAMPLE_WEIGHTS)
    assert opsig("train", run, "--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", 2).code == 3

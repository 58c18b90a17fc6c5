"""Weights and manifests to disk and back."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest, write_manifest
from opsigcli.checkpoints.writer import save_weights
from opsigcli.errors import CheckpointError

FULL = Manifest(
    model="mlp?hidden=64,64",
    data="planted?pairs=3",
    loss="ce",
    optimizer="adam",
    hyper={"lr": 0.1, "betas": [0.9, 0.999]},
    batch_size=32,
    steps=300,
    save_every=10,
    seed=7,
    input_shape=(3, 8, 8),
    classes=("cat", 'dog "big"', "ünï"),
    fingerprint="ab" * 32,
    transform={"standardize": "channel", "mean": [0.5, 0.25, 0.125]},
    signature="cd",
    checkpoints=(Row("step_0.safetensors", 0, 0.0, 0.1, "00"), Row("step_10.safetensors", 10)),
)


def test_weights_are_read_back_to_the_bit_with_their_metadata(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.tensor(3)}
    path = tmp_path / "m.safetensors"
    save_weights(path, tensors, {"step": 12, "epoch": 3, "lr": 0.1, "optimizer": "gd", "none": None})
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"step": "12", "epoch": "3", "lr": "0.1", "optimizer": "gd"}
        assert all(torch.equal(file.get_tensor(k), tensors[k]) for k in tensors)
    header = SafetensorsFile().describe(path)
    assert (header.counts, header.lr, header.optimizer.name) == ({"step": 12, "epoch": 3}, 0.1, "gd")
    assert all(torch.equal(SafetensorsFile().read(path)[k], tensors[k]) for k in tensors)


def test_tensors_that_share_memory_are_written_under_each_name(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tensors = {
        "tied": whole,
        "head": whole,
        "part": whole[2:4],
        "row": whole.view(2, 3)[1],
        "empty": torch.ones(0),
    }
    save_weights(tmp_path / "m.safetensors", tensors, {})
    weights = SafetensorsFile().read(tmp_path / "m.safetensors")
    assert all(torch.equal(weights[k], tensors[k]) for k in tensors)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_weights(tmp_path / "m.safetensors", {"w": torch.ones(2)}, {})
        write_manifest(tmp_path, FULL)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize("what", ["weights", "manifest"])
def test_a_full_disk_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def write(value: int) -> None:
        if what == "weights":
            save_weights(tmp_path / "m.safetensors", {"w": torch.full((9,), float(value))}, {})
        else:
            write_manifest(tmp_path, Manifest("mlp", "planted", "ce", seed=value))

    write(1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device") as caught:
            write(2)
    assert "free some space" in caught.value.hint
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    write(2)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} != before


def test_the_limit_on_file_sizes_is_met_as_a_full_disk(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large"):
            save_weights(tmp_path / "m.safetensors", {"w": torch.ones(1 << 18)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_weights(tmp_path / "m.safetensors", {"w": torch.ones(2)}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write"):
        save_weights(tmp_path / "absent" / "m.safetensors", {"w": torch.ones(2)}, {})


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path) == FULL
    write_manifest(tmp_path, Manifest("mlp", "planted", "ce"))
    assert read_manifest(tmp_path) == Manifest("mlp", "planted", "ce")


def test_numpy_values_tuples_and_none_are_written_as_toml_has_them(tmp_path: Path) -> None:
    transform = {"mean": np.array([0.5, 1.5]), "size": (8, 8), "std": np.float64(2.0), "crop": None}
    write_manifest(tmp_path, Manifest("mlp", "planted", "ce", transform=transform))
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.transform == {"mean": [0.5, 1.5], "size": [8, 8], "std": 2.0}


def test_a_folder_without_a_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


RUN = 'schema = 1\n[run]\nmodel = "mlp"\ndata = "planted"\nloss = "ce"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = 1\n[run\n", "found a mistake in"),
        (RUN.replace("schema = 1", "schema = 2"), "found schema 2"),
        (RUN.replace("schema = 1\n", ""), "expected 'schema = 1'"),
        (RUN.replace('model = "mlp"\n', ""), "expected a value for 'model'"),
        (RUN.replace('"mlp"', "3"), "expected text, found 3 for model"),
        (RUN + "batch_size = true\n", "expected a whole number, found True for batch_size"),
        (RUN + 'input_shape = [3, "x"]\n', "expected a whole number, found 'x' for input_shape"),
        (RUN + "classes = 3\n", "expected a list, found 3 for classes"),
        (RUN + "batchsize = 3\n", "found 'batchsize'"),
        (RUN + "[checkpoints]\n", "tables"),
        (RUN + '[[checkpoints]]\nfile = "a.pt"\n', "expected a value for 'step' .*checkpoint 1|'step'"),
        (RUN + '[[checkpoints]]\nfile = "../a.pt"\nstep = 1\n', "within the folder"),
        (RUN + '[[checkpoints]]\nfile = "/etc/passwd"\nstep = 1\n', "within the folder"),
    ],
)
def test_a_broken_manifest_is_an_error_that_says_what_and_where(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "opsig-run.toml").write_text(text)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def test_a_manifest_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "opsig-run.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="UTF-8"):
        read_manifest(tmp_path)


def test_a_whole_number_will_do_where_a_number_is_meant(tmp_path: Path) -> None:
    rows: Any = '[[checkpoints]]\nfile = "a.pt"\nstep = 1\nlr = 1\n'
    (tmp_path / "opsig-run.toml").write_text(RUN + rows)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.checkpoints == (Row("a.pt", 1, None, 1.0),)

"""Folders of checkpoints as people have them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint

from opsigcli.checkpoints import digest
from opsigcli.checkpoints.manifest import Manifest, Row, write_manifest
from opsigcli.checkpoints.series import open_series
from opsigcli.checkpoints.writer import save_weights
from opsigcli.errors import CheckpointError, UsageError


def save(folder: Path, value: int, name: str | None = None, **metadata: object) -> Path:
    path = folder / (name or f"step_{value}.safetensors")
    save_weights(path, {"w": torch.full((3,), float(value))}, metadata)
    return path


def test_a_folder_is_read_in_the_order_of_its_steps(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        save(tmp_path, step)
    series = open_series(tmp_path)
    assert (series.steps, series.unit, len(series)) == ([3, 20, 100], "step", 3)
    assert [c.file for c in series] == ["step_3.safetensors", "step_20.safetensors", "step_100.safetensors"]
    assert [float(series.read(i)["w"][0]) for i in range(3)] == [3, 20, 100]
    data = (tmp_path / "step_20.safetensors").read_bytes()
    assert series.sha256(1) == hashlib.sha256(data).hexdigest()
    assert series.checkpoints[1].size == len(data)


def test_step_in_the_content_beats_sidecar_and_name(tmp_path: Path) -> None:
    save(tmp_path, 1, "step_7.safetensors", step=70, epoch=2, lr=0.5)
    save(tmp_path, 2, "step_5.safetensors")
    (tmp_path / "step_7.json").write_text(json.dumps({"step": 80}))
    (tmp_path / "step_5.json").write_text(json.dumps({"step": 9, "lr": 0.25}))
    save(tmp_path, 3)
    series = open_series(tmp_path)
    assert [(c.step, c.step_source, c.lr) for c in series] == [
        (3, "name", None),
        (9, "sidecar", 0.25),
        (70, "content", 0.5),
    ]
    assert series.checkpoints[2].epoch == 2


def test_the_trainers_state_belongs_to_the_only_weights_beside_it(tmp_path: Path) -> None:
    save(tmp_path, 1, "model.safetensors")
    log = [
        {"step": 40, "learning_rate": 0.01},
        {"step": 50, "learning_rate": 0.005},
        {"step": 50, "eval_loss": 1},
    ]
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"global_step": 50, "epoch": 1.5, "log_history": log})
    )
    for name in ("training_args.bin", "rng_state.pth", "scheduler.pt"):
        (tmp_path / name).write_bytes(b"\x80never opened")
    series = open_series(tmp_path)
    assert [(c.step, c.step_source, c.lr, c.format) for c in series] == [(50, "sidecar", 0.005, "folder")]
    assert not series.notes


def test_a_learning_rate_that_was_logged_at_another_step_is_said_with_that_step(tmp_path: Path) -> None:
    for step in (50, 60):
        (tmp_path / f"checkpoint-{step}").mkdir()
        save(tmp_path / f"checkpoint-{step}", step, "model.safetensors")
        log = [{"step": 40, "learning_rate": 0.01}, {"step": 50, "learning_rate": 0.005}]
        state = {"global_step": step, "log_history": log}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    series = open_series(tmp_path)
    assert [c.lr for c in series] == [0.005, 0.005]
    assert any("checkpoint-60 (step 50)" in note and "checkpoint-50" not in note for note in series.notes)


def test_files_that_are_never_weights_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    (tmp_path / "step_1.optimizer.safetensors").write_bytes(b"x")
    (tmp_path / "rng_state_0.pth").write_bytes(b"x")
    opened: list[str] = []
    plain = os.open
    monkeypatch.setattr(os, "open", lambda at, *a, **k: opened.append(Path(at).name) or plain(at, *a, **k))
    series = open_series(tmp_path)
    assert len(series) == 1
    assert set(opened) - {"opsig-run.toml"} == {"step_1.safetensors"}
    assert len(series.skipped) == 2


def test_formats_may_be_mixed_and_hidden_files_are_nobodys_business(tmp_path: Path) -> None:
    save(tmp_path, 1)
    torch.save({"model": {"w": torch.ones(3)}, "step": 2}, tmp_path / "b.pt")
    (tmp_path / ".step_9.safetensors.part").write_bytes(b"x")
    (tmp_path / "log.txt").write_text("x")
    (tmp_path / "images").mkdir()
    series = open_series(tmp_path)
    assert [(c.step, c.format, c.note) for c in series] == [
        (1, "safetensors", ""),
        (2, "torch", "weights under model"),
    ]
    assert {s.file: s.reason for s in series.skipped} == {
        "log.txt": "no checkpoint format that opsig reads", "images": "a folder",
    }  # fmt: skip


def test_links_and_copies_are_dropped_and_named(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    os.link(tmp_path / "step_3.safetensors", tmp_path / "last.safetensors")
    (tmp_path / "latest.safetensors").symlink_to("step_3.safetensors")
    shutil.copy(tmp_path / "step_2.safetensors", tmp_path / "best.safetensors")
    (tmp_path / "gone.safetensors").symlink_to("nothing")
    series = open_series(tmp_path)
    assert series.steps == [1, 2, 3]
    assert {d.file: d.reason for d in series.duplicates} == {
        "last.safetensors": "the same file as step_3.safetensors",
        "latest.safetensors": "the same file as step_3.safetensors",
        "best.safetensors": "a copy of step_2.safetensors",
    }
    assert any(s.file == "gone.safetensors" and "link" in s.reason for s in series.skipped)
    assert any("best.safetensors" in note for note in series.notes)


def test_equal_bytes_at_different_steps_are_kept_and_noted(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copy(tmp_path / "step_1.safetensors", tmp_path / "step_2.safetensors")
    series = open_series(tmp_path)
    assert series.steps == [1, 2]
    assert series.notes == ("step_2.safetensors has the same bytes as step_1.safetensors",)


def test_gaps_are_noted(tmp_path: Path) -> None:
    for step in (0, 10, 20, 30, 60, 70):
        save(tmp_path, step)
    series = open_series(tmp_path)
    assert series.gaps == ((30, 60, 10),)
    assert any("between step 30 and 60" in note for note in series.notes)


def test_a_single_file_is_a_series_of_one(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert open_series(tmp_path / "step_2.safetensors").steps == [2]


def test_one_broken_file_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "step_3.safetensors").write_bytes(b"")
    (tmp_path / "losses.pt").write_bytes(b"")
    torch.save(torch.ones(3), tmp_path / "losses.pt")
    series = open_series(tmp_path)
    assert series.steps == [1, 2]
    assert [f.file for f in series.failed] == ["step_3.safetensors"]
    assert "empty" in series.failed[0].error.message
    assert any(s.file == "losses.pt" and "single tensor" in s.reason for s in series.skipped)


def test_a_folder_of_broken_files_says_which(tmp_path: Path) -> None:
    for name in ("step_1.pt", "step_2.pt"):
        (tmp_path / name).write_bytes(b"\0\1\2")
    with pytest.raises(CheckpointError, match=r"step_1.pt.*1 more cannot be read either"):
        open_series(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found nothing at"):
        open_series(tmp_path / "absent")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="an empty folder"):
        open_series(tmp_path)


def test_a_folder_without_checkpoints_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "optimizer.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"it holds optimizer.pt \(training state.*README.md"):
        open_series(tmp_path)


def test_a_folder_that_may_not_be_listed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(CheckpointError, match="permission denied"):
        open_series(tmp_path)


def test_several_sets_of_weights_ask_for_a_key_unless_only_looking(tmp_path: Path) -> None:
    for step in (1, 2):
        torch.save(
            {"net": {"w": torch.ones(2)}, "critic": {"w": torch.zeros(2)}, "step": step},
            tmp_path / f"{step}.pt",
        )
    with pytest.raises(CheckpointError, match="expected one set of weights") as caught:
        open_series(tmp_path)
    assert "--key" in caught.value.hint
    assert torch.equal(open_series(tmp_path, key="critic").read(1)["w"], torch.zeros(2))
    assert list(open_series(tmp_path, examine=True).checkpoints[0].header.candidates) == ["net", "critic"]


def test_trained_weights_go_before_their_moving_average_and_it_is_said(tmp_path: Path) -> None:
    for step in (1, 2):
        torch.save(
            {"model": {"w": torch.ones(2)}, "ema": {"w": torch.zeros(2)}, "step": step},
            tmp_path / f"{step}.pt",
        )
    series = open_series(tmp_path)
    assert series.weights == "model"
    assert any("the trained weights are read" in note for note in series.notes)
    assert torch.equal(series.read(1)["w"], torch.ones(2))
    assert torch.equal(open_series(tmp_path, weights="ema").read(1)["w"], torch.zeros(2))


def test_an_unknown_order_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown order"):
        open_series(tmp_path, order="nmae")


def test_order_by_name_and_time_are_there_for_the_asking(tmp_path: Path) -> None:
    for when, name in ((3, "a.pt"), (2, "b.pt"), (1, "c.pt")):
        torch.save({"w": torch.full((1,), float(when))}, tmp_path / name)
        os.utime(tmp_path / name, (when, when))
    with pytest.raises(CheckpointError, match="expected step numbers"):
        open_series(tmp_path)
    assert [c.file for c in open_series(tmp_path, order="name")] == ["a.pt", "b.pt", "c.pt"]
    assert [c.file for c in open_series(tmp_path, order="mtime")] == ["c.pt", "b.pt", "a.pt"]


def test_the_manifest_gives_step_and_lr_and_says_what_is_missing_or_changed(tmp_path: Path) -> None:
    paths = [
        save(tmp_path, n, f"{name}.safetensors") for n, name in ((5, "late"), (1, "early"), (9, "other"))
    ]
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]
    rows = (
        Row("early.safetensors", 10, 0.5, 0.3, "0" * 64),
        Row("late.safetensors", 20, 1.0, 0.2, digests[0]),
        Row("lost.safetensors", 30),
    )
    write_manifest(tmp_path, Manifest("mlp", "planted", "ce", checkpoints=rows))
    series = open_series(tmp_path)
    assert [(c.file, c.step, c.step_source, c.epoch, c.lr) for c in series] == [
        ("early.safetensors", 10, "manifest", 0.5, 0.3),
        ("late.safetensors", 20, "manifest", 1.0, 0.2),
    ]
    assert series.manifest is not None
    assert series.manifest.model == "mlp"
    notes = "\n".join(series.notes)
    assert "in opsig-run.toml and not in the folder: lost.safetensors" in notes
    assert "early.safetensors is not the file that opsig-run.toml describes" in notes
    assert "late.safetensors is not" not in notes
    assert "not in opsig-run.toml, and left out: other.safetensors" in notes
    assert "sha256" not in "\n".join(open_series(tmp_path, examine=True).notes)


def test_manifest_rows_may_lie_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    save(tmp_path / "weights", 4)
    write_manifest(
        tmp_path, Manifest("mlp", "planted", "ce", checkpoints=(Row("weights/step_4.safetensors", 4),))
    )
    assert [(c.file, c.step) for c in open_series(tmp_path)] == [("weights/step_4.safetensors", 4)]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes read as Linux reports them")
def test_checkpoints_are_told_apart_without_reading_their_tensors(tmp_path: Path) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    for step in range(8):
        torch.save(
            {"model": {"w": torch.full((1 << 19,), float(step))}, "step": step}, tmp_path / f"{step}.pt"
        )
        save_weights(
            tmp_path / f"s{step}.safetensors", {"w": torch.full((1 << 19,), step)}, {"step": 8 + step}
        )
    open_series(tmp_path / "0.pt")  # so that the modules are there
    before = bytes_read()
    assert len(open_series(tmp_path)) == 16
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert bytes_read() - before < total / 8


def test_a_series_is_described_without_importing_torch(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "step": 2}, tmp_path / "b.pt")
    save(tmp_path, 1)
    code = (
        "import sys, pathlib; from opsigcli.checkpoints.series import open_series; "
        "assert len(open_series(pathlib.Path(sys.argv[1]))) == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_file_is_hashed_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    whole = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(1) or whole(file, name))
    path = tmp_path / "w.safetensors"
    for content, hours in ((b"first", 3), (b"other", 2)):  # of one size
        path.write_bytes(content)
        os.utime(path, (time.time() - 3600 * hours,) * 2)
        for _ in range(2):
            assert digest.sha256(path) == hashlib.sha256(content).hexdigest()
    assert len(read) == 2
    path.write_bytes(b"fresh")  # so fresh that it may change again within one tick of the clock
    for _ in range(2):
        assert digest.sha256(path) == hashlib.sha256(b"fresh").hexdigest()
    assert len(read) == 4


def test_what_is_saved_twice_at_a_step_under_two_names_is_one_checkpoint(tmp_path: Path) -> None:
    """The last three, one in three for good, the best and the last: each by a torch.save of its own."""
    for step in range(8):
        content = {"model": {"w": torch.full((3,), float(step))}, "step": step}
        names = [f"recent_{step}.pt"] if step > 4 else []
        names += [f"kept_{step}.pt"] if step % 3 == 0 else []
        for name in [*names, *(["best.pt", "last.pt"] if step == 7 else [])]:
            torch.save(content, tmp_path / name)
    series = open_series(tmp_path)
    assert [(c.step, c.file) for c in series] == [
        (0, "kept_0.pt"), (3, "kept_3.pt"), (5, "recent_5.pt"), (6, "kept_6.pt"), (7, "recent_7.pt"),
    ]  # fmt: skip
    assert {d.file: d.reason for d in series.duplicates} == {
        "recent_6.pt": "a copy of kept_6.pt",
        "best.pt": "a copy of recent_7.pt",
        "last.pt": "a copy of recent_7.pt",
    }


@pytest.mark.parametrize("sums", [True, False])
def test_other_weights_of_the_same_step_are_no_copy(tmp_path: Path, sums: bool) -> None:
    options = torch.serialization
    before = options.get_crc32_options()
    options.set_crc32_options(sums)
    try:
        for name, value in (("a_6.pt", 1.0), ("b_6.pt", 2.0 if sums else 1.0)):
            torch.save({"model": {"w": torch.full((3,), value)}, "step": 6}, tmp_path / name)
    finally:
        options.set_crc32_options(before)
    with pytest.raises(CheckpointError, match="found step 6 2 times"):
        open_series(tmp_path)

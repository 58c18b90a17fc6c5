"""Folders as scripts leave them: one for each checkpoint, names of their own, clocks at odd places."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig
from safetensors.torch import save_file

from opsigcli.checkpoints.formats import recognise
from opsigcli.checkpoints.series import open_series
from opsigcli.errors import CheckpointError

WEIGHTS = {"w": torch.ones(2), "b": torch.zeros(3)}


def save(path: Path, content: Any = WEIGHTS, **words: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **words)
    return path


@pytest.mark.parametrize(
    ("folder", "unit"),
    [("epoch_{}", "epoch"), ("step-{}", "step"), ("checkpoint_{}", "number"), ("{}", "number")],
)
def test_a_folder_for_each_checkpoint_is_a_series_by_the_folders_numbers(
    folder: str, unit: str, tmp_path: Path
) -> None:
    for n in (10, 2, 1):
        inside = tmp_path / folder.format(n)
        save(inside / "model.pt", {"w": torch.full((2,), float(n))})
        save(inside / "optimizer.pt", {"state": {}, "param_groups": [{"lr": 0.1}]})
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([1, 2, 10], unit)
    assert [c.file for c in series] == [f"{folder.format(n)}/model.pt" for n in (1, 2, 10)]
    assert [series.read(i)["w"][0].item() for i in range(3)] == [1, 2, 10]


@pytest.mark.parametrize("folder", ["run{}", "seed_{}", "fold-{}", "version_{}"])
def test_folders_of_several_runs_are_no_series(folder: str, tmp_path: Path) -> None:
    for n in (1, 2):
        save(tmp_path / folder.format(n) / "model.pt", {"model": WEIGHTS, "epoch": n})
    with pytest.raises(CheckpointError, match="in a folder below it"):
        open_series(tmp_path)


def test_a_folder_with_several_files_of_weights_is_not_chosen_from(tmp_path: Path) -> None:
    for n in (1, 2):
        for name in ("generator.pt", "discriminator.pt")[: 3 - n]:
            save(tmp_path / f"epoch_{n}" / name, {"w": torch.full((2,), float(n))})
    with pytest.raises(CheckpointError, match="in a folder below it"):
        open_series(tmp_path)


def test_a_folder_for_each_checkpoint_may_part_it_into_files(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    rule = torch.optim.Adam(net.parameters(), lr=0.25)
    rate = torch.optim.lr_scheduler.StepLR(rule, 1)
    for n in (1, 2):
        inside = tmp_path / f"epoch_{n}"
        net(torch.ones(1, 2)).sum().backward()
        rule.step()
        for name, part in {"model": net, "opt": rule, "sched": rate}.items():
            save(inside / f"{name}.pt", part.state_dict())
        save(inside / "trainer_state.pt", {"epoch": n, "losses": [1.0]})
    series = open_series(tmp_path)
    assert [c.file for c in series] == ["epoch_1/model.pt", "epoch_2/model.pt"]
    assert (series.steps, series.unit) == ([1, 2], "step")  # by Adam's own count
    assert series.checkpoints[0].lr == 0.25
    assert "exp_avg" in series.optimizer(0, tensors=True)["state"][0]


def test_folders_that_hold_the_same_two_models_are_told_apart_by_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for n in (1, 2):
        for name in ("critic", "actor"):
            save(folder / f"epoch_{n}" / f"{name}.pt", {"w": torch.full((2,), float(n)), "b": torch.ones(3)})
    with pytest.raises(
        CheckpointError, match=r"one checkpoint in each folder.*actor\.pt, critic\.pt"
    ) as found:
        open_series(folder)
    subprocess.run(found.value.hint.partition(": ")[2], shell=True, check=True)
    series = open_series(tmp_path / "run-actor")
    assert (series.steps, series.unit) == ([1, 2], "epoch")


def test_folders_that_hold_a_series_each_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for run in ("first", "resumed"):
        for n in (100, 200):
            save(tmp_path / run / f"ckpt_{n}.pt", {"w": torch.full((2,), float(n)), "b": torch.ones(3)})
    with pytest.raises(
        CheckpointError, match=r"a series in each folder.*ckpt_100\.pt, ckpt_200\.pt"
    ) as found:
        open_series(tmp_path)
    assert f"name one of these folders: {tmp_path / 'first'}" in found.value.hint
    assert open_series(tmp_path / "first").steps == [100, 200]


def test_a_series_of_folders_is_traced_and_traced_again_by_its_manifest(opsig: Opsig, tmp_path: Path) -> None:
    words = (
        "--data",
        "planted?n=200",
        "--model",
        "mlp?hidden=4",
        "--lr",
        0.1,
        "--steps",
        4,
        "--save-every",
        2,
    )
    assert opsig("train", tmp_path / "run", *words).code == 0
    for path in sorted((tmp_path / "run").glob("step-*.safetensors")):
        inside = tmp_path / "ck" / path.stem
        inside.mkdir(parents=True)
        shutil.copy(path, inside / "weights.safetensors")
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=4", "--json")
    first = opsig("trace", tmp_path / "ck", *words, "--store", tmp_path / "a.h5")
    whole = opsig("trace", tmp_path / "run", "--json", "--store", tmp_path / "b.h5")
    assert first.code == whole.code == 0
    assert first.json["result"]["mean_losses"] == whole.json["result"]["mean_losses"]
    assert opsig("init", tmp_path / "ck", *words[:-1]).code == 0
    again = opsig("trace", tmp_path / "ck", "--json", "--store", tmp_path / "c.h5")
    assert again.json["result"]["mean_losses"] == whole.json["result"]["mean_losses"]


def legacy(path: Path) -> Path:
    return save(path, _use_new_zipfile_serialization=False)


def tensors_only(path: Path) -> Path:
    save_file(WEIGHTS, path)
    return path


@pytest.mark.parametrize(
    ("write", "format"), [(save, "torch"), (legacy, "torch"), (tensors_only, "safetensors")]
)
@pytest.mark.parametrize(
    "name",
    ["step_3.pyth", "step_3.th", "step_3.pkl", "step_3", "step_3.weights", "step_3.pt", "step_3.safetensors"],
)
def test_bytes_decide_what_a_file_is(
    name: str, write: Callable[[Path], Path], format: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name)
    found = recognise(path)
    assert found is not None
    assert found.name == format
    assert open_series(tmp_path).steps == [3]
    assert torch.equal(found.read(path)["w"], WEIGHTS["w"])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04]\x94.", b"PK\x03\x04" + bytes(300)])
@pytest.mark.parametrize("name", ["data.pkl", "notes", "x.npz", "a.th"])
def test_other_files_are_passed_over(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert recognise(tmp_path / name) is None


@pytest.mark.parametrize("kind", ["fairseq", "ignite"])
def test_the_clocks_of_fairseq_and_ignite_are_found(tmp_path: Path, kind: str) -> None:
    for epoch, step in ((1, 40), (1, 80), (2, 120)):
        beside: dict[str, Any] = {"trainer": {"epoch_length": 60, "max_epochs": 2, "iteration": step}}
        if kind == "fairseq":
            history = [
                {"optimizer_name": "Adam", "num_updates": 7},
                {"optimizer_name": "SGD", "num_updates": step},
            ]
            beside = {"optimizer_history": history, "extra_state": {"train_iterator": {"epoch": epoch}}}
        weights = {"w": torch.full((2,), float(step)), "b": torch.ones(3)}
        save(tmp_path / f"checkpoint_{epoch}_{step}.pt", {"model": weights, **beside})
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([40, 80, 120], "step")


def test_the_clock_of_mmengine_is_found(tmp_path: Path) -> None:
    for name, epoch, step in (("epoch_1", 1, 50), ("epoch_2", 2, 100), ("iter_120", 2, 120)):
        save(
            tmp_path / f"{name}.pth",
            {"meta": {"epoch": epoch, "iter": step}, "state_dict": WEIGHTS | {"n": torch.tensor(step)}},
        )
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([50, 100, 120], "step")


def test_a_name_that_is_no_text_is_refused_with_the_command_that_renames_it(
    opsig: Opsig, tmp_path: Path
) -> None:
    save(tmp_path / "step_1.pt")
    save(tmp_path / "step_2.pt", {"w": torch.zeros(2)})
    (tmp_path / "step_2.pt").rename(tmp_path / os.fsdecode(b"caf\xe9_step_2.pt"))
    done = opsig("trace", tmp_path, "--model", "mlp", "--data", "planted?n=200", "--store", tmp_path / "s.h5")
    assert done.code == 3
    assert r"mv $'caf\xe9_step_2.pt' caf_" in done.err
    assert opsig("inspect", tmp_path).code == 0


def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_a_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "step_1.pt")
    (tmp_path / "private").mkdir()
    plain = Path.is_file

    def is_file(self: Path) -> bool:  # root may read everything
        if self.parent.name == "private":
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self)

    monkeypatch.setattr(Path, "is_file", is_file)
    series = open_series(tmp_path)
    assert series.steps == [1]
    assert "may not be read, and left out: private" in series.notes


def test_a_file_named_like_the_checkpoints_that_is_none_is_said(tmp_path: Path) -> None:
    for step in range(4):
        weights: Any = {"w": torch.full((3,), float(step))}
        torch.save(
            {"model": weights if step != 2 else {"w": [2.0] * 3}, "step": step}, tmp_path / f"s_{step}.pt"
        )
    torch.save({"epochs": 3}, tmp_path / "settings.pt")
    series = open_series(tmp_path)
    assert series.steps == [0, 1, 3]
    said = [note for note in series.notes if note.startswith("named like the checkpoints")]
    assert len(said) == 1
    assert "s_2.pt (expected weights by name" in said[0]
    assert "settings" not in said[0]

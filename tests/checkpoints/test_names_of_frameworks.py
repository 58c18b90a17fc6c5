"""Names that frameworks give, with the copies and the training state that they keep beside."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from opsigcli.checkpoints.formats.foreign import recognise
from opsigcli.checkpoints.names import counts
from opsigcli.checkpoints.series import open_series
from opsigcli.errors import CheckpointError


def save(path: Path, value: int, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"w": torch.full((3,), float(value))}, **more}, path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3epoch.pth", {"epoch": 3}),
        ("10_epochs.pt", {"epoch": 10}),
        ("rl_model_1000_steps.pt", {"number": 1000, "step": 1000}),
        ("net-500-iters.pt", {"step": 500}),
        ("ckpt_2_epoch_3.pt", {"number": 2, "epoch": 3}),
        ("20240101_step_5.pt", {"step": 5}),
        ("resnet18epoch.pt", {}),
        ("loss0.25epoch.pt", {}),
        ("4stepper.pt", {}),
    ],
)
def test_a_word_may_come_behind_its_number(name: str, expected: dict[str, int]) -> None:
    assert counts(name) == expected


def test_espnet_numbers_its_epochs_before_the_word(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        save(tmp_path / f"{epoch}epoch.pth", epoch)
    (tmp_path / "valid.acc.best.pth").symlink_to("2epoch.pth")
    save(tmp_path / "valid.acc.ave.pth", 5)
    state = {"state": {0: {"step": torch.tensor(30.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    save(tmp_path / "checkpoint.pth", 10, optimizer=state)
    series = open_series(tmp_path)
    assert (series.steps, series.unit) == ([1, 2, 10], "epoch")
    assert any("checkpoint.pth" in note for note in series.notes)


def test_a_copy_that_is_called_best_or_last_does_not_stand_against_its_number(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path / f"iter_{step}.pth", step, meta={"iter": step}, optimizer={})
    save(tmp_path / "best_coco_bbox_mAP_iter_20.pth", 20, meta={"iter": 20})
    series = open_series(tmp_path)
    assert [c.file for c in series] == ["iter_10.pth", "iter_20.pth", "iter_30.pth"]
    for step in (10, 20):
        save(tmp_path / f"iter_{step}_full.pth", step, meta={"iter": step})
    with pytest.raises(CheckpointError) as refused:
        open_series(tmp_path)
    assert "several series" in refused.value.hint


def test_a_checkpoint_may_lie_in_a_folder_of_its_folder(tmp_path: Path) -> None:
    for step in (10, 20, 100):
        save(tmp_path / f"checkpoint-{step}/unet/diffusion_model.pt", step)
        torch.save({}, tmp_path / f"checkpoint-{step}/optimizer.bin")
    assert open_series(tmp_path).steps == [10, 20, 100]
    shutil.copytree(tmp_path / "checkpoint-10/unet", tmp_path / "checkpoint-10/unet_ema")
    with pytest.raises(CheckpointError, match="in a folder below"):
        open_series(tmp_path)


def test_paddles_weights_are_named_as_its_linear_layers_are_transposed(tmp_path: Path) -> None:
    for epoch in (1, 2):
        for end in ("pdparams", "pdopt"):
            (tmp_path / f"epoch_{epoch}.{end}").write_bytes(
                pickle.dumps({"w": np.full((3, 3), epoch, np.float32)}, 2)
            )
    with pytest.raises(CheckpointError, match="Paddle") as refused:
        open_series(tmp_path)
    assert "transpose" in refused.value.hint


def test_the_number_of_a_best_copy_is_none_of_the_numbers_beside_it(tmp_path: Path) -> None:
    for step in (100, 200):
        save(tmp_path / f"checkpoint_{step}.pt", step)
    save(tmp_path / "best_model_3_val_accuracy=0.8500.pt", 7)  # of the third validation
    series = open_series(tmp_path)
    assert [c.file for c in series] == ["checkpoint_100.pt", "checkpoint_200.pt"]
    assert any("best_model_3" in note and "something else" in note for note in series.notes)
    (tmp_path / "checkpoint_100.pt").unlink()
    (tmp_path / "checkpoint_200.pt").unlink()
    save(tmp_path / "best_model_5_val_accuracy=0.9000.pt", 8)
    assert open_series(tmp_path).steps == [3, 5]  # among themselves they count


def test_numbers_of_two_kinds_of_names_are_not_put_in_one_order(tmp_path: Path) -> None:
    for name in ("checkpoint_100.pt", "checkpoint_200.pt", "model_1.pt", "model_2.pt"):
        save(tmp_path / name, int(name[-4]))
    with pytest.raises(CheckpointError, match="several series") as refused:
        open_series(tmp_path)
    assert "a folder of its own" in refused.value.hint


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights_are_asked_for_as_floats(tmp_path: Path) -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    torch.save({"weight": quantized}, tmp_path / "step_1.pt")
    with pytest.raises(CheckpointError, match="QInt8") as refused:
        open_series(tmp_path)
    assert "dequantize" in refused.value.hint


def test_a_folder_of_deepspeed_in_lightning_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "epoch=0-step=10.ckpt"
    save(folder / "checkpoint/mp_rank_00_model_states.pt", 1)
    for name in ("latest", "zero_to_fp32.py"):
        (folder / name).write_text("checkpoint")
    with pytest.raises(CheckpointError, match="DeepSpeed") as refused:
        open_series(tmp_path)
    assert os.fspath(folder) in refused.value.hint.replace("'", "") or "PATH" in refused.value.hint


@pytest.mark.parametrize("within", ["", "/mp_rank_00_model_states.pt"])
def test_of_deepspeed_the_folder_with_all_steps_is_converted(tmp_path: Path, within: str) -> None:
    save(tmp_path / "global_step5/mp_rank_00_model_states.pt", 1)
    (tmp_path / "latest").write_text("global_step5")
    path = Path(f"{tmp_path}/global_step5{within}")
    kind = recognise(path)
    assert kind is not None
    assert f"zero_to_fp32 {tmp_path} " in kind.convert(path)

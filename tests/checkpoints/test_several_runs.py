"""Checkpoints of several runs in one folder are told by their names, and those of one run are not taken for several."""

from __future__ import annotations

import pytest

from opsigcli.checkpoints.names import counted
from opsigcli.checkpoints.order import put_in_order
from opsigcli.checkpoints.placed import Numbered, Order
from opsigcli.errors import CheckpointError


def named(*files: str, order: str = "auto", content: str = "") -> Order:
    """The order of files with these names, which lie in order of time; the last number in them is their content's."""
    found = counted(files)
    return put_in_order(
        [
            Numbered(
                file,
                float(i),
                {"name": found[file].numbers, "content": inside(file, content)},
                named=found[file],
            )
            for i, file in enumerate(files)
        ],
        order,
    )


def inside(file: str, unit: str) -> dict[str, int]:
    number = "".join(c if c.isdigit() else " " for c in file).split()[-1]
    return {unit: int(number)} if unit else {}


@pytest.mark.parametrize("content", ["", "step"])
@pytest.mark.parametrize(
    ("files", "runs"),
    [
        (("seed1_10.pt", "seed1_20.pt", "seed2_10.pt", "seed2_15.pt"), "seed1 (seed1_10.pt), seed2"),
        (("seed1_10.pt", "seed1_20.pt", "seed2_5.pt", "seed2_15.pt"), "seed1 (seed1_10.pt), seed2"),
        (("fold0_epoch1.pt", "fold0_epoch3.pt", "fold1_epoch2.pt"), "fold0 (fold0_epoch1.pt), fold1"),
        (("fold0_epoch1.pt", "fold0_epoch3.pt", "fold1_epoch4.pt"), "fold0 (fold0_epoch1.pt), fold1"),
        (("net_trial_3_step10.pt", "net_trial_4_step20.pt"), "trial3 (net_trial_3_step10.pt), trial4"),
        (("runA-step10.pt", "runA-step20.pt", "runB-step15.pt"), "runA (runA-step10.pt), runB"),
        (("run_sgd_step10.pt", "run_sgd_step30.pt", "run_adam_step20.pt"), "run adam (run_adam_step20.pt), run sgd"),
        (("exp1/ckpt_10.pt", "exp1/ckpt_30.pt", "exp2/ckpt_20.pt"), "exp1 (exp1/ckpt_10.pt), exp2"),
    ],
)  # fmt: skip
def test_names_that_say_several_runs_are_refused(files: tuple[str, ...], runs: str, content: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        named(*files, content=content)
    assert "expected the checkpoints of one run, found 2 by their names" in caught.value.message
    assert runs in caught.value.message
    assert "folder of its own" in caught.value.hint
    assert "--order mtime" in caught.value.hint
    assert len(named(*files, order="mtime").placed) == len(files)


def test_runs_that_say_the_same_number_are_named() -> None:
    with pytest.raises(
        CheckpointError, match=r"step 10 2 times: .*; their names say several runs: run1, run2"
    ):
        named("run1_step10.pt", "run1_step20.pt", "run2_step10.pt", "run2_step20.pt")


@pytest.mark.parametrize("content", ["", "step"])
@pytest.mark.parametrize(
    "files",
    [
        ("model_v2_10.pt", "model_v2_20.pt", "model_v2_30.pt"),
        ("epoch=0-step=100.ckpt", "epoch=0-step=200.ckpt", "epoch=1-step=300.ckpt", "epoch=1-step=400.ckpt"),
        ("checkpoint-200/pytorch_model.bin", "checkpoint-400/pytorch_model.bin"),
        ("step_10_loss_0.53.pt", "step_20_loss_0.50.pt", "step_30_loss_0.53.pt", "step_40_loss_0.50.pt"),
        ("epoch_1_acc_91.pt", "epoch_2_acc_92.pt", "epoch_3_acc_91.pt", "epoch_4_acc_92.pt"),
        ("run1_step10.pt", "run1_step20.pt", "run2_step30.pt", "run2_step40.pt"),  # taken up again
        ("seed1_step10.pt", "seed1_step20.pt", "seed1_step30.pt"),
        ("run-step10.pt", "run-step20.pt", "run-step30.pt"),
        ("run_10_model_1.pt", "run_10_model_2.pt"),
        ("2026-01-02_11-40_step5.pt", "2026-01-02_11-50_step6.pt", "2026-01-02_12-40_step7.pt"),
    ],
)  # fmt: skip
def test_names_of_one_run_are_no_several(files: tuple[str, ...], content: str) -> None:
    order = named(*files, content=content)
    assert [p.file for p in order.placed] == list(files)
    assert not any("take turns" in note for note in order.notes)


def test_a_number_that_no_word_explains_and_that_goes_back_and_forth_is_said() -> None:
    (note,) = named("1_10.pt", "1_20.pt", "2_5.pt", "2_15.pt").notes
    assert note.startswith("files with names of several kinds take turns (1, 2): if they are of several runs")
    notes = named("model1_step10.pt", "model1_step20.pt", "model2_step5.pt", "model2_step15.pt").notes
    assert any("take turns (model1, model2)" in note for note in notes)
    assert not named("1_10.pt", "1_20.pt", "2_30.pt", "2_40.pt").notes


def test_stages_whose_steps_begin_anew_are_refused_and_told_how_to_be_ordered() -> None:
    files = ("stage1-step1000.pt", "stage1-step2000.pt", "stage2-step500.pt")
    with pytest.raises(CheckpointError) as caught:
        named(*files)
    assert "found those of stage2-step500.pt before those of stage1-step1000.pt" in caught.value.message
    assert "steps begin anew in each stage" in caught.value.message
    assert "--order name" in caught.value.hint
    assert [p.file for p in named(*files, order="name").placed] == list(files)
    assert [p.step for p in named(*files[:2], "stage2-step3000.pt").placed] == [1000, 2000, 3000]

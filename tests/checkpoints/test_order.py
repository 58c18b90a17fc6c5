"""Which number a name gives, and in which order a folder's checkpoints come."""

from __future__ import annotations

import pytest

from opsigcli.checkpoints.names import counts, natural, never_weights
from opsigcli.checkpoints.order import Numbered, Order, gaps, put_in_order
from opsigcli.errors import CheckpointError

NAMES = {
    "epoch=3-step=400.ckpt": {"epoch": 3, "step": 400},
    "epoch=09-val_loss=0.32.ckpt": {"epoch": 9},
    "last.ckpt": {},
    "checkpoint-1000": {"number": 1000},
    "checkpoint-12.pth.tar": {"number": 12},
    "checkpoint_0007.pt": {"number": 7},
    "model_best.pth.tar": {},
    "model_10.pth": {"number": 10},
    "model-step-2500.safetensors": {"step": 2500},
    "step_00000100.safetensors": {"step": 100},
    "step000050.pt": {"step": 50},
    "global_step1500.pt": {"step": 1500},
    "global-step-20.pt": {"step": 20},
    "iter_0000500.pth": {"step": 500},
    "iteration_30.pt": {"step": 30},
    "it200.pt": {"step": 200},
    "ep1-ba100-rank0.pt": {"epoch": 1, "step": 100},
    "epoch_12.pth": {"epoch": 12},
    "Epoch_12_Loss_0.231.pth": {"epoch": 12},
    "resnet18-epoch-5-acc-0.93.pt": {"epoch": 5},
    "ckpt_20.pt": {"number": 20},
    "ckpt.pt": {},
    "snapshot-3.pt": {"number": 3},
    "e10.pt": {"epoch": 10},
    "net-e5.pth": {"epoch": 5},
    "lr1e-4_step300.pt": {"step": 300},
    "resnet18-f37072fd.pth": {},
    "model-5c106cde.pth": {},
    "model_2024-05-17_step_40.pt": {"number": 2024, "step": 40},
    "0010.pt": {"number": 10},
    "resnet50.safetensors": {},
    "time12.pt": {},
    "pytorch_model.bin": {},
    "batch_40.pt": {"step": 40},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_in_a_real_name_are_found(name: str) -> None:
    assert counts(name) == NAMES[name]


def test_names_sort_as_people_count() -> None:
    names = ["m10.pt", "m9.pt", "M1.pt", "m.pt", "m2-b.pt", "m2-a.pt"]
    assert sorted(names, key=natural) == ["M1.pt", "m2-a.pt", "m2-b.pt", "m9.pt", "m10.pt", "m.pt"]


@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "rng_state_0.pth", "scaler.pt",
        "model_3.optimizer.safetensors", "random_states_0.pkl", "optimizer.bin", "optimizer_1.bin",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    ],
)  # fmt: skip
def test_training_state_is_recognised_by_name(name: str) -> None:
    assert never_weights(name)


@pytest.mark.parametrize("name", ["model.pt", "optimizer_study_step_3.pt", "scheduler_free_epoch_2.pth"])
def test_weights_are_not_taken_for_training_state(name: str) -> None:
    assert not never_weights(name)


def arranged(
    files: dict[str, dict[str, int]], order: str = "auto", times: list[float] | None = None
) -> Order:
    return put_in_order(
        [
            Numbered(file, times[i] if times else 0.0, {unit: (n, "name") for unit, n in numbers.items()})
            for i, (file, numbers) in enumerate(files.items())
        ],
        order,
    )


def named(*files: str, order: str = "auto", times: list[float] | None = None) -> Order:
    return arranged({file: counts(file) for file in files}, order, times)


def test_steps_are_preferred_to_epochs() -> None:
    order = named("epoch=1-step=30.ckpt", "epoch=0-step=20.ckpt", "epoch=0-step=10.ckpt")
    assert ([p.step for p in order.placed], order.unit) == ([10, 20, 30], "step")


def test_a_unit_that_all_files_have_is_preferred_to_a_better_one_that_some_have() -> None:
    order = arranged({"a.pt": {"epoch": 0}, "b.pt": {"epoch": 1, "step": 50}})
    assert ([p.step for p in order.placed], order.unit) == ([0, 1], "epoch")


def test_a_unit_that_tells_the_files_apart_is_preferred_to_one_that_does_not() -> None:
    order = arranged({"a.pt": {"epoch": 1, "number": 100}, "b.pt": {"epoch": 1, "number": 50}})
    assert ([p.file for p in order.placed], order.unit) == (["b.pt", "a.pt"], "number")


def test_mixed_units_are_refused_with_an_example_of_each() -> None:
    with pytest.raises(CheckpointError, match=r"step in step_10.pt; epoch in epoch_2.pt") as caught:
        named("step_10.pt", "step_20.pt", "epoch_2.pt")
    assert "--order" in caught.value.hint


def test_no_number_anywhere_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"found none in the contents or names of alpha.pt, beta.pt"):
        named("alpha.pt", "beta.pt")


def test_a_file_without_a_number_is_left_out_and_named() -> None:
    order = named("step_20.pt", "final.pt", "step_10.pt")
    assert [p.step for p in order.placed] == [10, 20]
    assert list(order.left_out) == ["final.pt"]


def test_best_gives_way_to_the_file_with_the_number_in_its_name() -> None:
    order = arranged({"best.pt": {"epoch": 2}, "epoch_2.pt": {"epoch": 2}, "epoch_1.pt": {"epoch": 1}})
    assert [p.file for p in order.placed] == ["epoch_1.pt", "epoch_2.pt"]
    assert order.left_out == {"best.pt": "says epoch 2, as epoch_2.pt does"}


def test_two_files_that_say_the_same_number_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"number 5 2 times: in ema_model_5.pt, model_5.pt"):
        named("ema_model_5.pt", "model_5.pt")


def test_one_file_without_a_number_is_a_series_of_one() -> None:
    order = named("final.pt")
    assert [(p.step, p.source) for p in order.placed] == [(0, "position")]


def test_order_by_name_takes_every_file_and_numbers_them() -> None:
    order = named("net10.pt", "net9.pt", "net8.pt", order="name")
    assert [(p.file, p.step) for p in order.placed] == [("net8.pt", 0), ("net9.pt", 1), ("net10.pt", 2)]
    assert order.unit == "position"


def test_order_by_time_keeps_step_numbers_that_rise_with_it() -> None:
    order = named("step_10.pt", "step_5.pt", order="mtime", times=[2.0, 1.0])
    assert ([p.step for p in order.placed], order.unit) == ([5, 10], "step")
    order = named("step_10.pt", "step_5.pt", order="mtime", times=[1.0, 2.0])
    assert ([p.file for p in order.placed], order.unit) == (["step_10.pt", "step_5.pt"], "position")


def test_gaps_are_distances_larger_than_the_usual_one() -> None:
    assert gaps([0, 10, 20, 50, 60, 80]) == [(20, 50, 10), (60, 80, 10)]
    assert gaps([0, 1, 10, 100, 1000]) == []  # no usual distance
    assert gaps([0, 10]) == gaps([0, 10, 30]) == []

"""Which number a name gives, and in which order a folder's checkpoints come."""

from __future__ import annotations

import pytest

from opsigcli.checkpoints.names import counted, counts, natural, never_weights
from opsigcli.checkpoints.order import gaps, in_steps, put_in_order
from opsigcli.checkpoints.placed import Numbered, Order
from opsigcli.errors import CheckpointError, UsageError

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
    "step_10,000.pt": {"step": 10000},
    "net_1,012,500steps.pt": {"step": 1012500},
    "1,000.pt": {"number": 1000},
    "step_100_acc_0,912.pt": {"step": 100},
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
    """The order of files with these numbers in their content, beside those in their names."""
    named = counted(files)
    return put_in_order(
        [
            Numbered(
                file,
                times[i] if times else 0.0,
                {"content": numbers, "name": named[file].numbers},
                named=named[file],
            )
            for i, (file, numbers) in enumerate(files.items())
        ],
        order,
    )


def named(*files: str, order: str = "auto", times: list[float] | None = None) -> Order:
    return arranged({file: {} for file in files}, order, times)


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
    order = named("net-c.pt", "net-b.pt", "net-a.pt", order="name")
    assert [(p.file, p.step) for p in order.placed] == [("net-a.pt", 0), ("net-b.pt", 1), ("net-c.pt", 2)]
    assert order.unit == "position"


def test_order_by_time_keeps_step_numbers_that_rise_with_it() -> None:
    order = named("step_10.pt", "step_5.pt", order="mtime", times=[2.0, 1.0])
    assert ([p.step for p in order.placed], order.unit) == ([5, 10], "step")
    order = named("step_10.pt", "step_5.pt", order="mtime", times=[1.0, 2.0])
    assert ([p.file for p in order.placed], order.unit) == (["step_10.pt", "step_5.pt"], "position")


FAMILIES: dict[tuple[str, ...], list[int]] = {
    ("weights_00020.pth", "weights_00040.pth"): [20, 40],
    ("net_000020", "net_000100"): [20, 100],
    ("resnet_20.pt", "resnet_9.pt"): [20, 9],
    ("resnet18_20.pth", "resnet18_40.pth", "resnet18_5.pth"): [20, 40, 5],
    ("cifar10_r18_3_0.91.pth", "cifar10_r18_4_0.89.pth"): [3, 4],
    ("w20.pt", "w3.pt"): [20, 3],
    ("1k.pt", "10k.pt", "500.pt"): [1000, 10000, 500],
    ("net-1.5k.pt", "net-2k.pt"): [1500, 2000],
    ("net-900.pt", "net-1,000.pt", "net-12,500.pt"): [900, 1000, 12500],
    ("net_3_acc91.pt", "net_4_acc90.pt"): [3, 4],
    ("e2e_model18_1.pt", "e2e_model18_2.pt"): [1, 2],
    ("params_0001.pt", "params_0002.pt"): [1, 2],
    ("run2_net_3_300.pt", "run2_net_4_400.pt"): [3, 4],
}
NO_FAMILIES = [
    ("net_lr1e-4.pt", "net_lr1e-3.pt"),
    ("net_0.5.pt", "net_0.7.pt"),
    ("a-f37072fd.pth", "a-5c106cde.pth"),
    ("net_3_91.pt", "net_4_90.pt"),
    ("resnet18.pth", "vgg16.pth"),
]


@pytest.mark.parametrize("files", FAMILIES)
def test_the_number_that_varies_along_otherwise_equal_names_counts(files: tuple[str, ...]) -> None:
    found = counted(files)
    assert [found[file].numbers.get("number") for file in files] == FAMILIES[files]
    order = named(*files)
    assert [p.step for p in order.placed] == sorted(FAMILIES[files])
    assert order.unit == "number"


@pytest.mark.parametrize("files", NO_FAMILIES)
def test_numbers_that_measure_or_contradict_one_another_count_nothing(files: tuple[str, ...]) -> None:
    assert all(not found.numbers for found in counted(files).values())
    with pytest.raises(CheckpointError, match="found none"):
        named(*files)


@pytest.mark.parametrize("name", ["epoch_{}_batch_{}.pt", "ckpt_e{}_b{}.pt"])
def test_steps_that_begin_anew_in_each_epoch_are_told_how_to_be_ordered(name: str) -> None:
    files = [name.format(e, b) for e in (0, 1, 10) for b in (0, 5, 10)]
    with pytest.raises(CheckpointError, match="steps begin anew in each epoch") as caught:
        named(*files)
    assert "--order name" in caught.value.hint
    order = named(*reversed(files), order="name")
    assert ([p.file for p in order.placed], order.unit) == (files, "position")
    with pytest.raises(CheckpointError) as caught:  # twice the same place
        named(*files, name.format(0, "00"))
    assert "anew" not in caught.value.message


def test_two_series_of_names_are_not_made_one() -> None:
    with pytest.raises(CheckpointError, match=r"several series: disc_\*, gen_\*") as caught:
        named("gen_10.pt", "gen_20.pt", "disc_30.pt", "disc_40.pt")
    assert "--order" in caught.value.hint


def test_a_restarted_count_in_the_files_does_not_move_them() -> None:
    files = {f"model_{n}.pt": {"step": s} for n, s in ((1000, 1000), (2000, 2000), (2500, 500), (3000, 1500))}
    order = arranged(files)
    assert [p.step for p in order.placed] == [1000, 2000, 2500, 3000]
    assert order.unit == "number"
    (note,) = order.notes
    assert "order is that of the number in the names" in note
    assert "model_2000.pt has 2,000, model_2500.pt 500" in note


def test_phases_that_count_epochs_anew_are_ordered_by_the_names() -> None:
    files = {
        f"epoch_{n}.pt": {"epoch": e, "step": 10 * e + 10}
        for n, e in zip(range(1, 6), (0, 1, 0, 1, 2), strict=True)
    }
    order = arranged(files)
    assert [p.step for p in order.placed] == [1, 2, 3, 4, 5]
    assert order.unit == "epoch"
    assert "not one for each" in order.notes[0]


def test_epochs_in_the_files_go_before_steps_that_contradict_them() -> None:
    order = arranged({"a.pt": {"epoch": 1, "step": 90}, "b.pt": {"epoch": 2, "step": 30}})
    assert ([p.file for p in order.placed], order.unit) == (["a.pt", "b.pt"], "epoch")
    assert "step in the files would give another one" in order.notes[0]


def test_sources_that_contradict_one_another_in_names_are_refused() -> None:
    with pytest.raises(CheckpointError, match="at odds") as caught:
        named("epoch=0-step=200.ckpt", "epoch=1-step=100.ckpt")
    assert "--order name" in caught.value.hint


def test_names_of_two_kinds_are_not_held_against_one_another() -> None:
    order = arranged({"0.pt": {"step": 0}, "9.pt": {"step": 9}, "s3.pt": {"step": 10}, "s4.pt": {"step": 11}})
    assert ([p.step for p in order.placed], order.notes) == ([0, 9, 10, 11], ())


def test_names_of_two_kinds_that_take_turns_are_said_to() -> None:
    """As two runs in one folder, saved at other steps: losses would jump between the two."""
    both = {
        f"{run}_{n}.pt": {"step": n} for run, steps in (("a", (0, 10, 20)), ("b", (5, 15))) for n in steps
    }
    order = arranged(both)
    assert [p.step for p in order.placed] == [0, 5, 10, 15, 20]
    (note,) = order.notes
    assert note.startswith(
        "files with names of several kinds take turns (a_*, b_*): if they are of several runs"
    )
    assert arranged({**{f"a_{n}.pt": {"step": n} for n in (0, 10, 20)}, "final.pt": {"step": 15}}).notes == ()


def test_a_count_that_stands_still_gives_way_to_the_names_and_it_is_said() -> None:
    order = arranged({f"epoch_{n}.pt": {"step": 390} for n in (1, 2, 3)})
    assert ([p.step for p in order.placed], order.unit) == ([1, 2, 3], "epoch")
    (note,) = order.notes
    assert note.startswith("found step 390 3 times: in epoch_1.pt")
    assert note.endswith("the order is that of the epoch")


def test_epochs_become_steps_where_the_user_says_how_many() -> None:
    order = in_steps(named("ep2.pt", "ep10.pt"), 50)
    assert ([p.step for p in order.placed], order.unit) == ([100, 500], "step")
    with pytest.raises(UsageError, match="these count steps"):
        in_steps(named("step_1.pt", "step_2.pt"), 50)
    with pytest.raises(UsageError, match="places"):
        in_steps(named("a.pt", "b.pt", order="name"), 50)


def test_gaps_are_distances_larger_than_the_usual_one() -> None:
    assert gaps([0, 10, 20, 50, 60, 80]) == [(20, 50, 10), (60, 80, 10)]
    assert gaps([0, 1, 10, 100, 1000]) == []  # no usual distance
    assert gaps([0, 10]) == gaps([0, 10, 30]) == []

"""After which updates checkpoints are saved: ranges of steps against a plain list, and runs that are gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.errors import UsageError
from opsigcli.runs.save_steps import SaveSteps

TRAIN = ("train", "--data", "planted?n=200", "--model", "mlp?hidden=4", "--quiet")


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ("0:20:10,20:24:1", {0, 10, 20, 21, 22, 23, 24}),
        ("3", {3}),
        ("3,7:9", {3, 7, 8, 9}),
        ("1:6:4,6:8", {1, 5, 6, 7, 8}),
        (" 2:8:3 , 9:30:20 ", {2, 5, 8, 9, 29}),
    ],
)
def test_ranges_have_both_their_ends_and_every_so_many_between(ranges: str, expected: set[int]) -> None:
    saved = SaveSteps(1, ranges)
    assert {step for step in range(40) if step in saved} == expected
    assert {step for step in range(40) if step in SaveSteps(1, str(saved))} == expected


def test_without_ranges_it_is_every_so_many() -> None:
    saved = SaveSteps(7)
    assert [step for step in range(20) if step in saved] == [0, 7, 14]
    assert not str(saved)


@pytest.mark.parametrize(
    "ranges", ["a", "5:3", "0:9:0", "0:9,", "0:9,5:20", "-1:3", "1:2:3:4", "1.5", "9" * 40]
)
def test_what_is_no_range_is_a_usage_error_with_an_example(ranges: str) -> None:
    with pytest.raises(UsageError) as caught:
        SaveSteps(1, ranges)
    assert "--save-steps 0:100:10,100:200:1" in caught.value.hint


def steps_in(folder: Path) -> list[int]:
    manifest = read_manifest(folder)
    assert manifest is not None
    found = [row.step for row in manifest.checkpoints]
    assert sorted(path.name for path in folder.glob("step-*[0-9].safetensors")) == [
        f"step-{step:06d}.safetensors" for step in found
    ]
    return found


def test_a_run_saves_those_steps_its_ends_and_no_others_and_goes_on_so(opsig: Opsig, tmp_path: Path) -> None:
    run, words = tmp_path / "run", ("--save-steps", "4:8:2,8:10:1")
    assert opsig(*TRAIN, run, *words, "--steps", 13).code == 0
    assert steps_in(run) == [0, 4, 6, 8, 9, 10, 13]
    assert opsig(*TRAIN, run, *words, "--steps", 15).code == 0
    assert steps_in(run) == [0, 4, 6, 8, 9, 10, 13, 15]
    other = opsig(*TRAIN, run, "--steps", 15)
    assert other.code == 2
    assert "save_steps" in other.err
    assert opsig(*TRAIN, run, *words, "--save-every", 2, "--steps", 15).code == 2
    assert steps_in(run) == [0, 4, 6, 8, 9, 10, 13, 15]


def test_weights_at_a_step_do_not_depend_on_which_are_saved(opsig: Opsig, tmp_path: Path) -> None:
    for name, words in (("all", ()), ("some", ("--save-steps", "7"))):
        assert opsig(*TRAIN, tmp_path / name, *words, "--steps", 9, "--batch-size", 50).code == 0
    for step in (0, 7, 9):
        name = f"step-{step:06d}.safetensors"
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "some" / name).read_bytes()


def test_the_state_of_the_last_checkpoint_is_enough_to_go_on(opsig: Opsig, tmp_path: Path) -> None:
    words = ("--optimizer", "adam", "--lr", 0.01)
    assert opsig(*TRAIN, tmp_path / "all", *words, "--steps", 6).code == 0
    for steps in (4, 6):
        few = opsig(*TRAIN, tmp_path / "few", *words, "--steps", steps, "--save-optimizer", "last")
        assert few.code == 0
    assert [path.name for path in (tmp_path / "few").glob("*.optimizer.*")] == [
        "step-000006.optimizer.safetensors"
    ]
    for path in (tmp_path / "few").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "all" / path.name).read_bytes()
    fork = opsig("train", tmp_path / "fork", "--from", tmp_path / "few/step-000003.safetensors")
    assert fork.code == 3
    assert "--reset-state" in fork.err
    assert opsig(*TRAIN, tmp_path / "no", "--save-optimizer", "first").code == 2

"""Losses that training records are those that a trace computes, whatever ends the run in between, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Opsig

from opsigcli.objective.evaluate import Evaluator
from opsigcli.runs.recorded_losses import RecordedLosses
from opsigcli.runs.save_steps import SaveSteps
from opsigcli.runs.trainer import Trainer

MLP = ("--data", "planted?n=200", "--model", "mlp?hidden=6")
CNN = ("--data", "planted?scenario=pictures4&n=200", "--model", "cnn?widths=4,4&norm=batch")
NOISY = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(300, 8), nn.Dropout(0.5), nn.Linear(8, 6))
"""


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None
        )
    return found


def agree(recorded: Path, traced: Path) -> None:
    """Both have the same, but for the last digits of losses and what says how they were made."""
    first, second = content(recorded), content(traced)
    assert first.keys() == second.keys()
    for name in ("steps", "example_ids", "labels", "files", "sha256"):
        np.testing.assert_array_equal(first[name], second[name])
    for name in ("losses", "loss_deltas"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "words",
    [
        MLP,
        (*MLP, "--optimizer", "sam?rho=0.2", "--save-steps", "3:7:2"),
        (*MLP, "--downweight", "ids.csv", "--optimizer", "adam", "--lr", 0.01),
        (*CNN, "--loss", "ce?label_smoothing=0.1", "--save-every", 4),
        ("--preset", "two-layer-linear"),
    ],
    ids=str,
)
def test_what_training_records_is_what_a_trace_computes_and_changes_no_weight(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ids.csv").write_text("id\n3\n5\n")
    passes: list[int] = []
    real = Evaluator.losses
    monkeypatch.setattr(Evaluator, "losses", lambda self: passes.append(1) or real(self))
    done = opsig("train", "run", *words, "--steps", 9, "--record-losses", "--store", "a.h5", "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["store"] == "a.h5"
    assert len(passes) == 2  # the last checkpoint, and one that was recorded, to hold it against
    assert not Path("a.h5.parts").exists()
    assert opsig("trace", "run", "--store", "b.h5").code == 0
    agree(Path("a.h5"), Path("b.h5"))
    assert opsig("train", "plain", *words, "--steps", 9).code == 0
    for path in Path("run").glob("*.safetensors"):
        assert path.read_bytes() == (Path("plain") / path.name).read_bytes()


def test_a_run_that_was_stopped_goes_on_without_losing_or_doubling_a_step(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", tmp_path / "run", *MLP, "--steps", 9, "--record-losses", "--store", tmp_path / "a.h5")
    for place, after in (
        (Trainer, "update"),
        (RecordedLosses, "keep"),
    ):  # after a checkpoint, before its losses
        real, calls = getattr(place, after), iter(range(3))

        def stopping(*given: Any, real: Any = real, calls: Any = calls) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(place, after, stopping)
        assert opsig(*words).code == 130
        monkeypatch.undo()
    assert not (tmp_path / "a.h5").exists()
    assert len(list((tmp_path / "a.h5.parts").glob("recorded-*.unit"))) == 6
    assert opsig(*words).code == 0
    assert opsig("trace", tmp_path / "run", "--store", tmp_path / "b.h5").code == 0
    assert list(content(tmp_path / "a.h5")["steps"]) == list(range(10))
    agree(tmp_path / "a.h5", tmp_path / "b.h5")
    assert (
        opsig(*(11 if word == 9 else word for word in words)).code == 0
    )  # a longer run adds to the same store
    assert list(content(tmp_path / "a.h5")["steps"]) == list(range(12))
    moved = ("--from", tmp_path / "run/step-000004.safetensors", "--perturb", 2.0, "--steps", 7)
    assert (
        opsig("train", tmp_path / "fork", *moved, "--record-losses", "--store", tmp_path / "f.h5").code == 0
    )
    assert opsig("trace", tmp_path / "fork", "--store", tmp_path / "g.h5").code == 0
    agree(
        tmp_path / "f.h5", tmp_path / "g.h5"
    )  # the losses before the move belong to the fork's first checkpoint


def test_recorded_losses_that_a_trace_does_not_find_are_left_and_that_is_said(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RecordedLosses.keep
    monkeypatch.setattr(
        RecordedLosses, "keep", lambda self, sha, losses, of: real(self, sha, [losses[0] + 0.01], of)
    )
    words = ("train", tmp_path / "run", *MLP, "--steps", 3, "--record-losses")
    done = opsig(*words, "--store", tmp_path / "a.h5")
    assert done.code == 0
    assert "0.01 from those of a trace: all were computed anew" in done.err.replace("\n", " ")
    assert opsig("trace", tmp_path / "run", "--store", tmp_path / "b.h5").code == 0
    agree(tmp_path / "a.h5", tmp_path / "b.h5")


def test_a_run_whose_passes_have_other_losses_is_refused_with_the_way_out(
    opsig: Opsig, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NOISY)
    (tmp_path / "ids.csv").write_text("id\n3\n")
    assert opsig("train", tmp_path / "other", *MLP, "--steps", 2).code == 0
    store = tmp_path / "a.h5"
    assert opsig("trace", tmp_path / "other", "--store", store).code == 0
    before = store.read_bytes()
    for code, cause, words in (
        (2, "--batch-size 50", ("--batch-size", 50)),
        (2, "--augment", ("--augment", "flip")),
        (2, "--exclude", ("--exclude", tmp_path / "ids.csv")),
        (2, "dropout", ("--model", f"file:{tmp_path}/net.py:net")),
        (3, "other checkpoints", ()),
    ):
        found = opsig("train", tmp_path / "run", *MLP, *words, "--record-losses", "--store", store)
        assert found.code == code, found.err
        assert cause in found.err
        assert "hint:" in found.err
        assert not list((tmp_path / "run").glob("*.safetensors")), cause
    assert store.read_bytes() == before


def test_a_dry_run_says_what_the_run_then_writes_and_writes_nothing(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = tmp_path / "run", tmp_path / "a.h5"
    words = ("train", run, "--data", "planted?n=200", "--model", "mlp?hidden=100,100", "--optimizer", "adam")
    words += ("--lr", 0.01, "--steps", 12, "--save-steps", "2:6:2,6:9:1", "--record-losses", "--store", store)
    plan = opsig(*words, "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert not list(tmp_path.iterdir())
    result = plan.json["result"]
    monkeypatch.setattr("opsigcli.runs.training_plan.LARGE", 1000)
    done = opsig(*words)
    assert "writes about" in done.err
    assert result["bytes_of_losses"] == 8 * content(store)["losses"].size
    files = sum(path.stat().st_size for path in run.glob("*.safetensors"))
    assert result["bytes_to_write"] - result["bytes_of_losses"] == pytest.approx(files, rel=0.05)
    assert (result["units"], result["estimated_seconds"] > 0) == (12, True)


def test_a_dry_run_counts_what_is_left_and_refuses_what_the_run_would(opsig: Opsig, tmp_path: Path) -> None:
    words = ("train", tmp_path / "run", *MLP)
    assert opsig(*words, "--steps", 6).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for steps, updates in ((4, 0), (6, 0), (9, 3)):
        plan = opsig(*words, "--steps", steps, "--dry-run", "--json").json["result"]
        assert (plan["units"], plan["bytes_to_write"] > 0) == (updates, updates > 0)
    assert opsig(*words, "--steps", 6, "--seed", 3, "--dry-run").code == 2
    anew = opsig(*words, "--steps", 6, "--seed", 3, "--dry-run", "--fresh", "--json").json["result"]
    assert anew["units"] == 6
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("ranges", ["", "0:20:10,20:24:1", "3", "1:6:4,6:8", "2:8:3,9:30:20"])
def test_the_number_of_steps_that_are_saved_is_counted_without_making_them(ranges: str) -> None:
    saved = SaveSteps(1 if ranges else 7, ranges)
    for after in range(0, 30, 4):
        for last in range(after, 40, 3):
            assert saved.count(after, last) == sum(step in saved for step in range(after + 1, last + 1))

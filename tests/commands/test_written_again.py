"""Checkpoints that were saved again after a trace, without their optimizers: the same run, as long as weights are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Opsig
from short_runs import sgd, short_run

STEPS, RATE = ("--every", 4, "--tolerance", 0.05), 0.1


@pytest.fixture
def store(opsig: Opsig, tmp_path: Path) -> Path:
    """The store of a run, from whose files the optimizers were taken after the trace."""
    made = short_run(opsig, tmp_path, sgd(lr=RATE))
    for path in (tmp_path / "run").glob("*.pt"):
        kept = torch.load(path)
        torch.save({name: part for name, part in kept.items() if name != "optimizer"}, path)
    return made


def again(opsig: Opsig, store: Path, *words: object) -> object:
    place = store.parent
    model, data = f"file:{place}/net.py:Tanh", f"npz:{place}/data.npz"
    return opsig("trace", place / "run", "--store", store, "--model", model, "--data", data, *words)


def test_files_without_their_optimizers_are_gone_on_with(opsig: Opsig, store: Path) -> None:
    found = opsig("sharpness", "--store", store, *STEPS, "--json")
    assert found.code == 0, found.err
    assert [point["threshold"] for point in found.json["result"]["points"]] == [2 / RATE] * 2
    assert any("written again since they were traced" in text for text in found.json["warnings"])
    assert any("step_0.pt" in text for text in found.json["warnings"])
    assert opsig("mine", "--store", store).code == 0
    traced = again(opsig, store, "--json")
    assert traced.code == 0, traced.err
    assert {entry["status"] for entry in traced.json["result"]["checkpoints"]} == {"kept"}
    assert any("written again" in text for text in traced.json["warnings"])
    planned = again(opsig, store, "--dry-run")
    assert planned.code == 0
    assert "other bytes than were traced" in planned.err


def test_other_weights_are_refused_at_the_step_that_has_them(opsig: Opsig, store: Path) -> None:
    path = store.parent / "run" / "step_4.pt"
    kept = torch.load(path)
    kept["model"]["last.weight"] *= 1.01
    torch.save(kept, path)
    found = opsig("sharpness", "--store", store, *STEPS, "--json")
    assert "its losses are others" in found.json["result"]["failed"]["step_4.pt"]
    traced = again(opsig, store)
    assert traced.code == 3
    assert "at checkpoint 4 it has other weights" in traced.err

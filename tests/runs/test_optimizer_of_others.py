"""Checkpoints without an optimizer are judged by what others have only where that can be told, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from conftest import Opsig

from opsigcli.records import Run
from opsigcli.runs.run_optimizer import OF_ANOTHER, RunOptimizer

Make = Callable[[Any], torch.optim.Optimizer]


def momentum(beta: float, **more: Any) -> Make:
    return lambda p: torch.optim.SGD([{"params": p, **more}], lr=0.25, momentum=beta)


def write(folder: Path, having: dict[int, Make], steps: int = 4) -> None:
    """So many checkpoints, of which these have an optimizer that made an update."""
    for step in range(steps):
        content: dict[str, Any] = {"net": hostile.state(step), "step": step}
        if step in having:
            parameters = [torch.nn.Parameter(value) for value in hostile.state(step).values()]
            optimizer = having[step](parameters)
            sum(p.square().sum() for p in parameters).backward()
            optimizer.step()
            content["optimizer"] = optimizer.state_dict()
        torch.save(content, folder / f"ckpt-{step}.pt")


def told(opsig: Opsig, folder: Path) -> tuple[dict[str, Any], str]:
    seen = opsig("inspect", folder, "--json").json
    return seen["result"]["optimizer"], "".join(w for w in seen["warnings"] if w.startswith("optimizer"))


def test_settings_of_one_checkpoint_are_said_to_be_that_ones(opsig: Opsig, tmp_path: Path) -> None:
    write(tmp_path, {3: momentum(0.9)})
    found, said = told(opsig, tmp_path)
    assert (found["name"], found["hyper"]["lr"], found["hyper"]["momentum"]) == ("momentum", 0.25, 0.9)
    assert "those of ckpt-3.pt, the only one of 4 checkpoints that has any" in said


def test_the_rate_at_the_end_of_a_schedule_is_that_of_no_other_checkpoint(
    opsig: Opsig, tmp_path: Path
) -> None:
    write(tmp_path, {3: momentum(0.9, lr=0.0, initial_lr=0.25)})
    found, said = told(opsig, tmp_path)
    assert found["name"] == "momentum"
    assert "lr" not in found["hyper"]
    assert "a schedule set its learning rate, so that of the others is not known without --lr" in said


@pytest.mark.parametrize("other", [momentum(0.5), lambda p: torch.optim.Adam(p, lr=0.25)])
def test_optimizers_that_differ_say_nothing_of_checkpoints_between(
    opsig: Opsig, tmp_path: Path, other: Make
) -> None:
    write(tmp_path, {1: other, 3: momentum(0.9)})
    found, said = told(opsig, tmp_path)
    assert found == {"name": None, "hyper": {}}
    assert (
        "in ckpt-1.pt and momentum (weight_decay 0, momentum 0.9) in ckpt-3.pt: the 2 checkpoints without"
        in said
    )


@pytest.mark.parametrize("having", [(1, 3), (0, 1, 2, 3)])
def test_nothing_is_said_where_checkpoints_agree_or_all_have_their_own(
    opsig: Opsig, tmp_path: Path, having: tuple[int, ...]
) -> None:
    write(tmp_path, {step: momentum(0.9, initial_lr=0.25) for step in having})
    found, said = told(opsig, tmp_path)
    assert (found["name"], found["hyper"]["lr"], said) == ("momentum", 0.25, "")


def test_a_threshold_of_borrowed_settings_says_so(tmp_path: Path) -> None:
    write(tmp_path, {3: momentum(0.9)})
    run = Run(
        str(tmp_path), "mlp", "planted", "ce", optimizer="momentum", hyper={"lr": 0.25, "momentum": 0.9}
    )
    model = torch.nn.Linear(2, 2)
    without = RunOptimizer(run, None, {}).at(tmp_path / "ckpt-0.pt", model, float("nan"))
    assert without.notes == (OF_ANOTHER,)
    given = RunOptimizer(run, "momentum", {"lr": 0.25}).at(tmp_path / "ckpt-0.pt", model, float("nan"))
    assert given.notes == ()
    (tmp_path / "opsig-run.toml").write_text("")  # then the settings are those that somebody wrote down
    assert RunOptimizer(run, None, {}).at(tmp_path / "ckpt-0.pt", model, float("nan")).notes == ()


def test_a_manifest_written_later_is_what_sharpness_is_judged_by(opsig: Opsig, tmp_path: Path) -> None:
    """Layers that were looked at stay; the threshold is that of what is known now, without a product more."""
    folder, store = tmp_path / "ckpts", tmp_path / "s.h5"
    folder.mkdir()
    write(folder, {})
    words = ("--model", "mlp?hidden=4", "--data", hostile.write_data(tmp_path))
    assert opsig("trace", folder, *words, "--store", store).code == 0
    before = opsig("sharpness", "--store", store, "--layers", "--json").json["result"]["points"]
    assert {p["threshold"] for p in before} == {None}
    quick = opsig("sharpness", "--quick", "--store", store, "--json").json["result"]["critical_sharpness"]
    assert {p["threshold"] for p in quick} == {None}
    for lr in (0.25, 0.5):  # and another one, after the first was corrected
        (folder / "opsig-run.toml").unlink(missing_ok=True)
        assert opsig("init", folder, *words, "--optimizer", "sgd", "--lr", lr).code == 0
        assert opsig("trace", folder, "--store", store).code == 0
        after = opsig("sharpness", "--store", store, "--json").json["result"]["points"]
        assert [p["threshold"] for p in after] == [pytest.approx(2 / lr)] * len(before)
        quick = opsig("sharpness", "--quick", "--store", store, "--json").json["result"]["critical_sharpness"]
        assert [p["threshold"] for p in quick] == [pytest.approx(2 / lr)] * len(before)
        assert [p["layers"] for p in after] == [p["layers"] for p in before]
        assert [p["matvecs"] for p in after] == [p["matvecs"] for p in before]


def test_a_later_checkpoint_that_disagrees_takes_borrowed_thresholds_back(
    opsig: Opsig, tmp_path: Path
) -> None:
    folder, store = tmp_path / "ckpts", tmp_path / "s.h5"
    folder.mkdir()
    write(folder, {1: momentum(0.9)}, steps=2)
    words = ("--model", "mlp?hidden=4", "--data", hostile.write_data(tmp_path), "--store", store)
    assert opsig("trace", folder, *words).code == 0
    first = opsig("sharpness", "--store", store, "--json").json["result"]["points"]
    assert [p["threshold"] for p in first] == [pytest.approx(3.8 / 0.25)] * 2
    write(folder, {1: momentum(0.9), 2: momentum(0.5)}, steps=3)
    assert opsig("trace", folder, *words).code == 0
    later = opsig("sharpness", "--store", store, "--json").json["result"]["points"]
    assert [p["threshold"] for p in later] == [None, pytest.approx(3.8 / 0.25), pytest.approx(3.0 / 0.25)]

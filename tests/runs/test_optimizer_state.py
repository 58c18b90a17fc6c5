"""One recogniser names the optimizer of checkpoints, whichever command asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from conftest import Opsig

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.outcome import plain
from opsigcli.records import Run
from opsigcli.runs.run_optimizer import RunOptimizer

RULES: dict[str, tuple[str | None, Callable[[Any], torch.optim.Optimizer]]] = {
    "plain": ("sgd", lambda p: torch.optim.SGD(p, lr=0.25)),
    "momentum": ("momentum", lambda p: torch.optim.SGD(p, lr=0.25, momentum=0.9)),
    "nesterov": ("nesterov", lambda p: torch.optim.SGD(p, lr=0.25, momentum=0.9, nesterov=True)),
    "dampened": ("dampened", lambda p: torch.optim.SGD(p, lr=0.25, momentum=0.9, dampening=0.5)),
    "adam": ("adam", lambda p: torch.optim.Adam(p, lr=0.25, betas=(0.8, 0.9))),
    "adamw": ("adamw", lambda p: torch.optim.AdamW(p, lr=0.25)),
    "rmsprop": ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.25, momentum=0.5)),
    "nadam": ("nadam", lambda p: torch.optim.NAdam(p, lr=0.25)),
    "unknown": (None, lambda p: torch.optim.SGD([{"params": p, "trust_coefficient": 0.1}], lr=0.25)),
}


def write_checkpoints(folder: Path, make: Callable[[Any], torch.optim.Optimizer]) -> None:
    """Two checkpoints with the state of an optimizer that made an update."""
    for step in (1, 2):
        parameters = [torch.nn.Parameter(value) for value in hostile.state(step).values()]
        optimizer = make(parameters)
        sum(p.square().sum() for p in parameters).backward()
        optimizer.step()
        content = {"net": hostile.state(step), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(content, folder / f"ckpt-{step}.pt")


@pytest.mark.parametrize("kind", RULES)
def test_inspect_and_init_find_the_same_optimizer(opsig: Opsig, tmp_path: Path, kind: str) -> None:
    name, make = RULES[kind]
    folder = tmp_path / "ckpts"
    folder.mkdir()
    write_checkpoints(folder, make)
    seen = opsig("inspect", folder, "--json").json
    assert [row["optimizer"] for row in seen["result"]["checkpoints"]] == [name, name]
    data = hostile.write_data(tmp_path)
    made = opsig("init", folder, "--model", "mlp?hidden=4", "--data", data, "--json")
    assert made.code == 0, made.err
    result = made.json["result"]
    assert seen["result"]["optimizer"] == {"name": name, "hyper": result["hyper"]}
    assert (result["optimizer"] or None) == name
    assert bool(result["hyper"]) == (name is not None)
    assert [w for w in seen["warnings"] if w.startswith("optimizer")] == [
        w for w in made.json["warnings"] if w.startswith("optimizer")
    ]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert plain(manifest.hyper) == result["hyper"]
    again = opsig("inspect", folder, "--json").json["result"]["optimizer"]
    assert again == seen["result"]["optimizer"]


def test_a_rule_without_a_threshold_is_shown_by_name_with_the_reason(opsig: Opsig, tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    write_checkpoints(folder, lambda p: torch.optim.Rprop(p, lr=0.25))
    seen = opsig("inspect", folder, "--json").json
    assert [row["optimizer"] for row in seen["result"]["checkpoints"]] == ["rprop", "rprop"]
    assert seen["result"]["optimizer"] == {"name": None, "hyper": {}}
    assert any(w.startswith("optimizer: no threshold: rprop: ") for w in seen["warnings"])
    traced = opsig(
        *("trace", folder, "--store", tmp_path / "o.h5", "--model", "mlp?hidden=4"),
        *("--data", hostile.write_data(tmp_path), "--json"),
    )
    assert any(w.startswith("optimizer: no threshold: rprop: ") for w in traced.json["warnings"])


def test_groups_that_differ_show_the_rule_and_have_no_threshold(opsig: Opsig, tmp_path: Path) -> None:
    def make(p: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [{"params": p[:1]}, {"params": p[1:], "weight_decay": 0.0}], lr=0.25, weight_decay=0.1
        )

    write_checkpoints(tmp_path, make)
    seen = opsig("inspect", tmp_path, "--json").json
    assert [row["optimizer"] for row in seen["result"]["checkpoints"]] == ["adamw", "adamw"]
    assert seen["result"]["optimizer"] == {"name": None, "hyper": {}}
    assert "differ in weight_decay" in "".join(seen["warnings"])


def test_what_is_given_comes_before_the_checkpoint_and_that_before_the_run() -> None:
    run = Run("c", "mlp", "planted", "ce", optimizer="momentum", hyper={"lr": 0.1, "momentum": 0.8})
    assert RunOptimizer(run, None, {}).hyper() == {"lr": 0.1, "momentum": 0.8}
    assert RunOptimizer(run, None, {"momentum": None}).hyper(0.2) == {"lr": 0.2, "momentum": 0.8}
    assert RunOptimizer(run, "momentum", {"lr": 0.3}).hyper(0.2) == {"lr": 0.3, "momentum": 0.8}
    assert RunOptimizer(run, None, {}).hyper(math.nan) == {"lr": 0.1, "momentum": 0.8}


def test_hyper_parameters_of_a_run_are_not_those_of_another_optimizer() -> None:
    run = Run("c", "mlp", "planted", "ce", optimizer="momentum", hyper={"lr": 0.1, "momentum": 0.8})
    assert RunOptimizer(run, "adam", {}).hyper(0.2) == {"lr": 0.2}
    assert RunOptimizer(replace(run, optimizer=""), None, {}).rule is None

"""An optimizer that opsig does not have is a module and a line in the table: then every command knows it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys
from opsigcli.registry import Entry


class Averaged(torch.optim.Optimizer):
    """Steps along the mean of this gradient and the last one: ``θ ← θ − η (g + g₋₁) / 2``."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "averaged": 2})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                before = self.state[p].get("before", p.grad)
                p.sub_(group["lr"] * (p.grad + before) / 2)
                self.state[p]["before"] = p.grad.clone()


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return "" if "averaged" in group else None


# x_(t+1) = (1 − ηλ/2) x_t − (ηλ/2) x_(t−1) is stable while its determinant ηλ/2 is below 1.
AVERAGED = Optimizer(
    "averaged",
    defaults={"lr": NO_RATE},
    make=lambda parameters, hyper: Averaged(parameters, hyper["lr"]),
    limit=lambda hyper: 2 / float(hyper["lr"]),
    recognise=_recognise,
)


@pytest.fixture(autouse=True)
def _one_line_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "averaged_module", sys.modules[__name__])
    monkeypatch.setitem(OPTIMIZERS.entries, "averaged", Entry("averaged_module:AVERAGED", "a mean of two"))


def test_it_trains_is_traced_with_virtual_steps_and_has_a_stability_ratio(
    opsig: Opsig, tmp_path: Path
) -> None:
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=6", "--optimizer", "averaged", "--lr", 0.2)
    assert opsig("train", tmp_path / "run", *words, "--steps", 3).code == 0
    assert opsig("train", tmp_path / "run", *words, "--steps", 6, "--json").json["result"]["resumed_at"] == 3
    store = tmp_path / "s.h5"
    traced = opsig("trace", tmp_path / "run", "--store", store, "--virtual-step", "--json")
    assert traced.code == 0
    assert traced.json["warnings"] == []
    losses, virtual = traced.json["result"]["mean_losses"], traced.json["result"]["virtual"]["mean"]
    assert virtual[:-1] == pytest.approx(np.diff(losses), rel=1e-3, abs=1e-6)
    done = opsig("sharpness", "--store", store, "--every", 3, "--json")
    assert done.code == 0, done.err
    points = done.json["result"]["points"]
    assert [point["threshold"] for point in points] == pytest.approx([10, 10, 10])
    assert all(point["ratio"] for point in points)


def test_it_is_recognised_in_checkpoints_of_other_programs(opsig: Opsig, tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in (1, 2):
        parameters = [torch.nn.Parameter(value) for value in hostile.state(step).values()]
        rule = Averaged(parameters, 0.125)
        sum(p.square().sum() for p in parameters).backward()
        rule.step()
        content = {"net": hostile.state(step), "optimizer": rule.state_dict(), "step": step}
        torch.save(content, folder / f"{step}.pt")
    seen = opsig("inspect", folder, "--json").json["result"]
    assert seen["checkpoints"][0]["optimizer"] == "averaged"
    assert seen["optimizer"] == {"name": "averaged", "hyper": {"lr": 0.125}}
    data = hostile.write_data(tmp_path)
    made = opsig("init", folder, "--model", "mlp?hidden=4", "--data", data, "--json").json["result"]
    assert (made["optimizer"], made["hyper"]) == ("averaged", {"lr": 0.125})

"""Optimizer states in files of their own are found beside bare weights, and only where names leave no doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

from opsigcli.checkpoints.optimizer_beside import optimizer_beside
from opsigcli.checkpoints.series import open_series

FOUND = {
    "net_4.pth": ("optim_4.pth", "optim_2.pth", "net_2.pth"),
    "model000004.pt": ("opt000004.pt", "ema_0.9999_000004.pt"),
    "epoch3_model.pth": ("epoch3_optimizer.pth", "epoch3_scheduler.pth"),
    "net_g_5000.pth": ("5000.state",),
    "weights.pt": ("optimizer.pt", "rng.txt"),
}
NONE = {
    "net_4.pth": ("optim_2.pth", "adopted_4.pth"),
    "netG_4.pth": ("optG_4.pt", "optim_4.pt", "opt_4.pt"),  # of which one?
    "ema_4.pth": ("optim_4.pth",),
    "best.pth": ("optimizer.pth", "net_4.pth"),
    "weights.pt": ("optimizer.pt", "other.pt"),
    "optim_4.pth": ("optimizer_4.pth",),
}


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("name", FOUND)
def test_the_file_with_the_numbers_of_the_weights_is_theirs(tmp_path: Path, name: str) -> None:
    touched(tmp_path, name, *FOUND[name])
    assert optimizer_beside(tmp_path / name) == tmp_path / FOUND[name][0]


@pytest.mark.parametrize("name", NONE)
def test_where_names_leave_a_doubt_there_is_none(tmp_path: Path, name: str) -> None:
    touched(tmp_path, name, *NONE[name])
    assert optimizer_beside(tmp_path / name) is None


def run(folder: Path, save: Callable[[int, Any, Any], None]) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)).astype("f4"), np.arange(60) % 3
    np.savez(folder / "data.npz", x=x + 2 * np.eye(5, dtype="f4")[y], y=y)
    (folder / "net.py").write_text("from torch import nn\ndef build(): return nn.Linear(5, 3)\n")
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    rule = torch.optim.Adam(net.parameters(), 0.01)
    inputs = torch.tensor(np.load(folder / "data.npz")["x"])
    for step in range(5):
        if step:
            save(step, net.state_dict(), rule.state_dict())
        rule.zero_grad()
        F.cross_entropy(net(inputs), torch.tensor(y)).backward()
        rule.step()


def test_ratios_are_those_of_states_within_the_checkpoints(opsig: Opsig, tmp_path: Path) -> None:
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    inside.mkdir()
    beside.mkdir()

    def both(step: int, weights: Any, state: Any) -> None:
        torch.save({"model": weights, "optimizer": state}, inside / f"net_{step}.pth")
        torch.save(weights, beside / f"net_{step}.pth")
        torch.save(state, beside / f"optim_{step}.pth")

    run(tmp_path, both)
    series = open_series(beside)
    assert (series.steps, series.unit) == ([1, 2, 3, 4], "step")  # by Adam's own count
    assert {item.reason for item in series.skipped} == {
        f"the optimizer's state of net_{step}.pth" for step in range(1, 5)
    }
    points = []
    for folder in (inside, beside):
        store = tmp_path / f"{folder.name}.h5"
        words = ("--model", f"file:{tmp_path}/net.py:build", "--data", f"npz:{tmp_path}/data.npz")
        assert opsig("trace", folder, "--store", store, *words).code == 0
        points.append(opsig("sharpness", "--store", store, "--json").json["result"]["points"])
    for one, other in zip(*points, strict=True):
        assert one["ratio"] == pytest.approx(other["ratio"], rel=1e-6)
        assert one["lr"] == other["lr"] == 0.01
    assert [point["step_check"]["verdict"] for point in points[1][:3]] == ["confirmed"] * 3


def test_a_file_that_is_no_optimizers_is_left_alone(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "net_4.pth")
    torch.save({"flow": [1, 2]}, tmp_path / "opt_4.pth")
    torch.save({"w": torch.ones(2)}, tmp_path / "net_6.pth")
    (tmp_path / "opt_6.pth").write_bytes(b"PK\x03\x04 broken")
    series = open_series(tmp_path)
    assert [(c.file, c.header.optimizer.group, c.lr) for c in series] == [
        (f"net_{step}.pth", {}, None) for step in (4, 6)
    ]

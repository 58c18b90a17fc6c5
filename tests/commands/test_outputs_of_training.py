"""Models that put out more in training than else: their losses and sharpness are measured, their steps are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from conftest import Opsig

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.main, self.beside = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return (self.main(x), self.beside(x)) if self.training else self.main(x)

def make():
    return Net()
"""


def test_auxiliary_outputs_are_said_and_end_nothing(opsig: Opsig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(24, 6), torch.arange(24) % 3
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "net.py").write_text(NET)
    space: dict[str, object] = {}
    exec(NET, space)
    model = space["make"]()  # type: ignore[operator]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (tmp_path / "ckpts").mkdir()
    for step in range(4):
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(saved, tmp_path / "ckpts" / f"step_{step}.pt")
        optimizer.zero_grad()
        sum(F.cross_entropy(out, y) for out in model(x)).backward()
        optimizer.step()
    store = tmp_path / "s.h5"
    traced = opsig(
        "trace", tmp_path / "ckpts", "--model", f"file:{tmp_path / 'net.py'}:make", "--data",
        f"npz:{tmp_path / 'data.npz'}", "--store", store,
    )  # fmt: skip
    assert traced.code == 0, traced.err
    assert "auxiliary outputs" in traced.out + traced.err
    measured = opsig("sharpness", "--store", store, "--json")
    assert measured.code == 0, measured.err
    checks = [point["step_check"] for point in json.loads(measured.out)["result"]["points"]]
    assert {check["verdict"] for check in checks} == {"cannot be told"}
    assert "in training the model puts out a tuple" in checks[0]["reason"]

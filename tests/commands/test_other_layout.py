"""A network that flattens its inputs takes channels at either end: the look finds at which it was trained with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 24), nn.Tanh(), nn.Linear(24, 4))
"""


@pytest.fixture
def run(tmp_path: Path) -> torch.Tensor:
    """A run on pictures (N, 3, 6, 6), whose classes are patterns of colours and places; its inputs."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 4
    x = torch.randn(4, 3, 6, 6, generator=generator)[y] + torch.randn(80, 3, 6, 6, generator=generator)
    space: dict[str, object] = {}
    exec(NET, space)
    torch.manual_seed(0)
    model: nn.Module = space["make"]()  # type: ignore[operator]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "ckpts").mkdir()
    for step in range(31):
        if step % 10 == 0:
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(saved, tmp_path / "ckpts" / f"step_{step}.pt")
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return x


def traced(opsig: Opsig, folder: Path, x: torch.Tensor) -> Path:
    np.savez(folder / "data.npz", x=x.contiguous().numpy(), y=(np.arange(80) % 4))
    store = folder / "s.h5"
    done = opsig(
        "trace", folder / "ckpts", "--model", f"file:{folder / 'net.py'}:make", "--data",
        f"npz:{folder / 'data.npz'}", "--store", store,
    )  # fmt: skip
    assert done.code == 0, done.err
    return store


def test_channels_at_the_other_end_are_found_and_said_by_all_that_builds_on_the_trace(
    opsig: Opsig, tmp_path: Path, run: torch.Tensor
) -> None:
    store = traced(opsig, tmp_path, run.permute(0, 2, 3, 1))
    for words in (("sharpness", "--json"), ("mine", "--json")):
        done = opsig(*words, "--store", store)
        assert done.code == 0, done.err
        warnings = json.loads(done.out)["warnings"]
        assert any(
            "with channels first, as by x.transpose(0, 3, 1, 2), the same examples" in w for w in warnings
        )
    report = " ".join(opsig("report", "--store", store).out.split())
    assert "What was traced may not be what was trained: with channels first" in report


def test_nothing_is_said_of_channels_where_they_were_in_training(
    opsig: Opsig, tmp_path: Path, run: torch.Tensor
) -> None:
    store = traced(opsig, tmp_path, run)
    assert "channels" not in " ".join(
        json.loads(opsig("sharpness", "--json", "--store", store).out)["warnings"]
    )
    assert "may not be what was trained" not in opsig("report", "--store", store).out

"""BatchNorms that training froze beside others that it moved: no one choice of statistics holds for all."""

from __future__ import annotations

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
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
    )
"""


def trained(folder: Path, frozen: tuple[int, ...]) -> None:
    """A run in which some BatchNorms stay in eval mode."""
    space: dict[str, object] = {}
    exec(NET, space)
    torch.manual_seed(0)
    x, y = torch.randn(60, 6), torch.arange(60) % 3
    model: nn.Sequential = space["make"]()  # type: ignore[operator]
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    (folder / "net.py").write_text(NET)
    (folder / "ckpts").mkdir()
    model.train()
    for place in frozen:
        model[place].eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(saved, folder / "ckpts" / f"step_{step}.pt")
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(("frozen", "said"), [((), False), ((2,), True), ((2, 5), False)])
def test_those_that_keep_their_statistics_while_others_move_are_named(
    opsig: Opsig, tmp_path: Path, frozen: tuple[int, ...], said: bool
) -> None:
    trained(tmp_path, frozen)
    store = tmp_path / "s.h5"
    words = ("--model", f"file:{tmp_path / 'net.py'}:make", "--data", f"npz:{tmp_path / 'data.npz'}")
    traced = opsig("trace", tmp_path / "ckpts", *words, "--store", store)
    assert traced.code == 0, traced.err
    for done in (traced, opsig("sharpness", "--store", store)):
        told = " ".join((done.out + done.err).split())
        assert (
            "1 of 2 BatchNorms keep their statistics from the first checkpoint to the last (2)" in told
        ) == said

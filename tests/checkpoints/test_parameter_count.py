"""Parameters are counted without buffers, and shared ones once: the truth is what the module itself has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Opsig
from torch import nn

from opsigcli.checkpoints.writer import save_weights


class Tied(nn.Module):
    """A language model whose head is its embedding, with a causal mask as nanoGPT keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.attn = nn.Linear(4, 12)
        self.attn.register_buffer("mask", torch.ones(1, 1, 5, 5, dtype=torch.bool))
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("make", [Tied, batch_norm])
def test_inspect_counts_what_trains(opsig: Opsig, tmp_path: Path, make: type[nn.Module]) -> None:
    model = make()
    for step in (1, 2):
        torch.save({"model": model.state_dict()}, tmp_path / f"w{step}.pt")
    rows = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"]
    expected = sum(p.numel() for p in model.parameters())
    assert [row["parameters"] for row in rows] == [expected, expected]
    assert rows[0]["weights"]["model"]["parameters"] == expected


def test_running_statistics_in_safetensors_are_no_parameters(opsig: Opsig, tmp_path: Path) -> None:
    model = batch_norm()
    save_weights(tmp_path / "step_1.safetensors", model.state_dict(), {})
    (row,) = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"]
    assert row["parameters"] == sum(p.numel() for p in model.parameters())

"""Layers whose backward pass is not the derivative of what they compute: the refusal names a way that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Opsig

NET = """
import torch
from torch import nn

class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 64) / 64

    @staticmethod
    {mark}
    def backward(ctx, g):
        return g.clone()

class Quantised(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x.flatten(1), Rounded.apply(self.weight), self.bias)

def net(inputs=300, outputs=10):
    return nn.Sequential(Quantised(inputs, 6), nn.Tanh(), nn.Linear(6, outputs))
"""
ONCE = "@torch.autograd.function.once_differentiable"


@pytest.mark.parametrize("mark", ["", ONCE])
def test_a_straight_through_layer_is_measured_along_its_update(
    opsig: Opsig, tmp_path: Path, mark: str
) -> None:
    (tmp_path / "net.py").write_text(NET.replace("{mark}", mark))
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--data", "planted?n=200", "--model", f"file:{tmp_path / 'net.py'}:net")
    assert opsig("train", run, *words, "--steps", 4, "--lr", 0.1).code == 0
    assert opsig("trace", run, "--store", store, "--trust-manifest").code == 0
    asked = ("sharpness", "--store", store, "--steps", "2:2", "--trust-manifest", "--json")
    refused = opsig(*asked)
    assert refused.code != 0
    assert "opsig sharpness --quick" in " ".join(refused.err.split())
    taken = opsig(*asked, "--quick")
    assert taken.code == 0, taken.err
    assert "ratio" in taken.out

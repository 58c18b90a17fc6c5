"""Examples with many labels, as texts and maps have, are held against guesses as those with one are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import nn

NET = """
from torch import nn

def maps():
    return nn.Conv2d(3, 4, 1)

def tokens():
    return nn.Embedding(4, 4)
"""


@pytest.mark.parametrize(("kind", "loss"), [("maps", "ce"), ("tokens", "lm")])
def test_a_model_that_knows_nothing_does_no_better_than_a_guess(
    opsig: Opsig, tmp_path: Path, kind: str, loss: str
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, p=(0.7, 0.1, 0.1, 0.1), size=(12, 5, 5) if kind == "maps" else (12, 25))
    shape = (12, 3, 5, 5) if kind == "maps" else (12, 25)
    inputs = rng.normal(size=shape).astype("f4") if kind == "maps" else rng.integers(0, 4, shape)
    np.savez(tmp_path / "data.npz", x=inputs, y=labels)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "run").mkdir()
    net = nn.Conv2d(3, 4, 1) if kind == "maps" else nn.Embedding(4, 4)
    for step in (0, 1):
        state = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
        torch.save(state, tmp_path / "run" / f"step_{step}.pt")
    words = (
        "--model",
        f"file:{tmp_path}/net.py:{kind}",
        "--data",
        f"npz:{tmp_path}/data.npz",
        "--loss",
        loss,
    )
    traced = opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *words, "--json")
    assert traced.code == 0, traced.err
    look = traced.json["result"]["look"]
    often = np.bincount(labels.ravel()) / labels.size
    assert look["uniform"]["mean_loss"] == pytest.approx(math.log(4))
    assert look["prior"]["mean_loss"] == pytest.approx(-(often * np.log(often)).sum(), rel=1e-4)
    assert look["prior"]["right"] == pytest.approx(often.max())
    assert any("no better than a guess" in text for text in traced.json["warnings"])

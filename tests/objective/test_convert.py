"""Models as an objective takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import nn

from opsigcli.objective.convert import convert

NET = """
from torch import nn

class Bag(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.words = nn.Embedding(20, 5, sparse=sparse)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.words(x).mean(1))

def net(sparse=True):
    return Bag(sparse)
"""


def test_sparse_gradients_of_embeddings_are_dense() -> None:
    model = nn.Sequential(nn.Embedding(5, 2, sparse=True), nn.Flatten(), nn.Linear(4, 2))
    x = torch.tensor([[0, 3]])
    convert(model, "cpu", torch.float32)(x).sum().backward()
    assert not model[0].weight.grad.is_sparse  # type: ignore[union-attr]


@pytest.mark.parametrize("command", ["sharpness", "mine"])
def test_an_embedding_for_sparse_gradients_gives_what_another_gives(
    opsig: Opsig, tmp_path: Path, command: str
) -> None:
    space: dict[str, object] = {}
    exec(NET, space)
    torch.manual_seed(0)
    net = space["net"](False)  # type: ignore[operator]
    (tmp_path / "run").mkdir()
    (tmp_path / "net.py").write_text(NET)
    x, y = torch.randint(0, 20, (60, 4)), torch.arange(60) % 3
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for step in range(4):
        content = {"model": net.state_dict(), "step": step, "optimizer": optimizer.state_dict()}
        torch.save(content, tmp_path / "run" / f"step_{step}.pt")
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    found = []
    for sparse in ("true", "false"):
        store, model = tmp_path / f"{sparse}.h5", f"file:{tmp_path}/net.py:net?sparse={sparse}"
        words = ("--store", store, "--model", model, "--data", f"npz:{tmp_path}/data.npz")
        assert opsig("trace", tmp_path / "run", *words).code == 0
        result = opsig(command, *words, "--json")
        assert result.code == 0, result.err
        own = result.json["result"]
        found.append([p["eigenvalues"] for p in own["points"]] if command == "sharpness" else own["pairs"])
    assert found[0] == found[1]

"""Momentum of embeddings with sparse gradients: a sparse tensor in the optimizer's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from opsigcli.checkpoints.formats.sparse_state import REBUILD, dense, only_in_states
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.pickles.records import Call, Malformed, Name


def momentum(folder: Path, **beside: Any) -> tuple[Path, torch.Tensor]:
    """A checkpoint of an embedding after two updates with momentum, and its momentum."""
    words = nn.Embedding(7, 3, sparse=True)
    rule = torch.optim.SGD(words.parameters(), lr=0.1, momentum=0.9)
    for rows in ([1, 4, 4], [0, 4]):
        rule.zero_grad()
        (words(torch.tensor(rows)) * torch.arange(1.0, 4)).sum().backward()
        rule.step()
    buffer = rule.state[words.weight]["momentum_buffer"]
    assert buffer.is_sparse
    path = folder / "step_2.pt"
    torch.save({"model": words.state_dict(), "optimizer": rule.state_dict(), "step": 2, **beside}, path)
    return path, buffer.to_dense()


def test_it_is_read_with_all_its_numbers(tmp_path: Path) -> None:
    path, expected = momentum(tmp_path)
    assert set(TorchFile().read(path)) == {"weight"}
    found = TorchFile().optimizer(path, tensors=True)["state"][0]["momentum_buffer"]
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "extra", [{"adjacency": torch.eye(3).to_sparse()}, {"ema": [torch.eye(3).to_sparse()]}]
)
def test_sparse_tensors_elsewhere_are_refused_beside_it(tmp_path: Path, extra: dict[str, Any]) -> None:
    path, _ = momentum(tmp_path, **extra)
    with pytest.raises(CheckpointError, match="sparse tensors"):
        TorchFile().describe(path)


def test_lists_that_hold_themselves_are_looked_through_once() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert only_in_states({"model": endless})


@pytest.mark.parametrize(
    ("places", "values", "size"),
    [
        ([[0, 7]], [1.0, 2.0], (7,)),
        ([[-1, 0]], [1.0, 2.0], (7,)),
        ([[0, 1]], [1.0], (7,)),
        ([[0]], [1.0], (-7,)),
        ([[0]], [1.0], (1 << 40,)),
        ([[0]], [1.0], "x"),
        ([[0], [0]], [1.0], (7,)),
        ([0], [1.0], (7,)),
    ],
)
def test_places_beyond_its_size_are_refused(places: Any, values: Any, size: Any) -> None:
    leaf = Call(Name(REBUILD), ("layout", (torch.tensor(places), torch.tensor(values), size, False)))
    with pytest.raises(Malformed, match="sparse tensor"):
        dense(leaf, lambda part: part)

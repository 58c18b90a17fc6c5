"""A checkpoint's pickle is parsed once, whatever is asked of the file afterwards, until the file changes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.checkpoints.series import open_series
from opsigcli.checkpoints.unchanged import Kept, identity
from opsigcli.pickles import reader as pickle_reader


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each pickle that is read as data, or by torch."""
    found: list[str] = []
    read, load = pickle_reader.read, torch.load
    monkeypatch.setattr(pickle_reader, "read", lambda *a: found.append("opsig") or read(*a))
    monkeypatch.setattr(torch, "load", lambda *a, **k: found.append("torch") or load(*a, **k))
    return found


def save(path: Path, value: float, age: float = 3600) -> None:
    net = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(net.weight, value)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {name: torch.full_like(tensor, value) for name, tensor in net.state_dict().items()}
    torch.save({"model": state, "optimizer": optimizer.state_dict(), "step": int(value)}, path)
    os.utime(path, (time.time() - age,) * 2)


def test_header_weights_optimizer_and_digest_need_one_look_at_the_pickle(
    tmp_path: Path, parsed: list[str]
) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"step_{step}.pt", step)
    series = open_series(tmp_path)
    for index in range(3):
        series.sha256(index)
        assert torch.equal(series.read(index)["weight"], torch.full((2, 3), index + 1.0))
        for tensors in (False, True):
            assert set(series.optimizer(index, tensors=tensors)["state"]) == {0, 1}
    assert parsed == ["opsig"] * 3


def test_a_file_that_changed_is_parsed_again(tmp_path: Path, parsed: list[str]) -> None:
    path = tmp_path / "w.pt"
    for value, age in ((1.0, 3600), (2.0, 1800)):
        save(path, value, age)
        for _ in range(2):
            assert float(TorchFile().read(path)["bias"][0]) == value
    assert len(parsed) == 2


def test_a_file_so_fresh_that_it_may_change_unseen_is_not_kept(tmp_path: Path, parsed: list[str]) -> None:
    save(tmp_path / "w.pt", 1.0, age=0)
    for _ in range(2):
        TorchFile().read(tmp_path / "w.pt")
    assert len(parsed) == 2
    assert identity((tmp_path / "w.pt").stat()) is None


def test_what_is_kept_has_a_bound_and_what_was_not_used_for_longest_goes_first() -> None:
    kept: Kept[int] = Kept(bound=10)
    asked: list[Any] = []

    def get(key: str | None, weight: int) -> int:
        return kept.get(key, lambda: (asked.append(key) or len(asked), weight))

    assert [get(key, 4) for key in ("a", "b", "a", "c", "a", "b")] == [1, 2, 1, 3, 1, 4]
    assert [get("huge", 11), get("huge", 11)] == [5, 6]
    assert [get(None, 1), get(None, 1)] == [7, 8]

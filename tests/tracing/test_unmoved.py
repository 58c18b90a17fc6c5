"""Checkpoints whose weights did not move are named."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import Opsig
from numpy.typing import NDArray

from opsigcli.tracing.unmoved import unmoved

WORDS = "have the losses of the one before to the bit"


@pytest.mark.parametrize(("seeds", "said"), [((0, 0, 1), "1 of 3"), ((0, 0, 0), "2 of 3"), ((0, 1, 2), "")])
def test_weights_that_were_saved_again_are_said(
    opsig: Opsig, tmp_path: Path, seeds: tuple[int, ...], said: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for step, seed in enumerate(seeds):
        torch.manual_seed(seed)
        net = torch.nn.Linear(3, 2)
        torch.save({"model": net.state_dict(), "step": step}, folder / f"step_{step}.pt")
    (tmp_path / "net.py").write_text("import torch\ndef net(): return torch.nn.Linear(3, 2)\n")
    np.savez(tmp_path / "d.npz", x=np.eye(3, dtype=np.float32), y=[0, 1, 0])
    model, data = f"file:{tmp_path}/net.py:net", f"npz:{tmp_path}/d.npz"
    done = opsig("trace", folder, "--store", tmp_path / "s.h5", "--model", model, "--data", data, "--json")
    assert done.code == 0
    found = [word for word in done.json["warnings"] if WORDS in word]
    assert [word.split(" checkpoints")[0] for word in found] == ([said] if said else [])


def test_losses_are_read_where_two_mean_losses_in_a_row_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = np.array([[0.0, 2.0], [2.0, 0.0], [2.0, 0.0], [1.0, 2.0], [np.nan, np.nan], [np.nan, np.nan]])
    read = []

    class Opened:
        file: ClassVar = {"steps": np.arange(6)}

        @property
        def losses(self) -> Opened:
            return self

        def __getitem__(self, row: int) -> NDArray[np.float64]:
            read.append(row)
            return np.asarray(losses[row])

    monkeypatch.setattr("opsigcli.tracing.unmoved.open_store", lambda path: nullcontext(Opened()))
    (said,) = unmoved(tmp_path, losses.mean(1))
    assert said.startswith("1 of 6 checkpoints have the losses of the one before to the bit: 2;")
    assert set(read) == {0, 1, 2, 4, 5}

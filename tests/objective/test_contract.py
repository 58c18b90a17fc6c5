"""Whatever outputs, targets and loss come together: losses of single examples, or a refusal in opsig's own words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opsigcli.datasets import open_source
from opsigcli.errors import ObjectiveError
from opsigcli.objective.base import Objective
from opsigcli.objective.losses import LOSSES

N = 11
random = np.random.default_rng(0)
X = random.normal(size=(N, 4)).astype("f4")
LABELS = np.arange(N) % 3
TARGETS: dict[str, np.ndarray] = {
    "labels": LABELS,
    "two classes": LABELS % 2,
    "a column": LABELS[:, None],
    "signs": np.where(LABELS, 1, -1),
    "yes and no": LABELS == 1,
    "too many classes": np.arange(N),
    "some ignored": np.where(LABELS, 1, -100),
    "bytes": LABELS.astype("u1"),
    "numbers": random.normal(size=N).astype("f4"),
    "numbers from 0 to 1": random.random(N).astype("f4"),
    "a column of numbers": random.normal(size=(N, 1)).astype("f4"),
    "three numbers": random.normal(size=(N, 3)).astype("f4"),
    "probabilities": random.dirichlet([1] * 3, N).astype("f4"),
    "several labels": random.integers(0, 2, (N, 3)),
    "several labels as floats": random.integers(0, 2, (N, 3)).astype("f4"),
    "one-hot": np.eye(3, dtype=np.int64)[LABELS],
    "one-hot floats": np.eye(3)[LABELS],
    "a map": random.integers(0, 3, (N, 2)),
    "a plane": random.integers(0, 3, (N, 2, 3)),
    "a plane of numbers": random.normal(size=(N, 2, 3)).astype("f4"),
}
OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "three": lambda z: z[:, :3],
    "two": lambda z: z[:, :2],
    "one": lambda z: z[:, :1],
    "squeezed": lambda z: z[:, 0],
    "cells": lambda z: z[:, :3, None, None],
    "classes first": lambda z: z.reshape(-1, 3, 2),
    "classes last": lambda z: z.reshape(-1, 2, 3),
    "planes": lambda z: z.reshape(-1, 1, 2, 3),
    "probabilities": lambda z: z[:, :3].softmax(-1),
    "log-probabilities": lambda z: z[:, :3].log_softmax(-1),
    "yes and no": lambda z: z[:, :3].sigmoid(),
    "whole numbers": lambda z: z[:, :3].long(),
    "complex numbers": lambda z: z[:, :3].to(torch.complex64),
    "no number": lambda z: z[:, :3] * torch.nan,
    "a pair": lambda z: (z, z),
}


class Net(nn.Module):
    def __init__(self, of: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.of, self.layer = of, nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Any:
        return self.of(self.layer(x))


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("loss", LOSSES.entries)
def test_no_error_of_torch_comes_out_of_a_loss(tmp_path: Path, loss: str, kind: str) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=TARGETS[kind])
    source = open_source(f"npz:{tmp_path / 'd.npz'}")
    for name, of in OUTPUTS.items():
        refused = refusal(source, loss, of)
        if refused is None:
            found = Objective(Net(of), source, loss).losses()
            counts = (TARGETS[kind].reshape(N, -1) != -100).all(1)
            assert found.shape == (N,)
            assert (np.isfinite(found) == counts).all() or name == "no number"
            continue
        assert "failed: " not in refused.message, (name, refused.message)
        assert refused.hint, (name, refused.message)
        for advice in re.findall(r"--loss (?:'([^']*)'|(\w+))", refused.hint):
            again = refusal(source, advice[0] or advice[1], of)
            assert again is None, (name, refused.message, refused.hint, again.message)


def refusal(source: Any, loss: str, of: Callable[[Tensor], Any]) -> ObjectiveError | None:
    try:
        Objective(Net(of), source, loss)
    except ObjectiveError as refused:
        return refused
    return None


def test_labels_that_minus_one_marks_as_missing_are_told_a_way(tmp_path: Path) -> None:
    labels = np.where(np.arange(N)[:, None] % 3 == np.arange(6), -1.0, 1.0)
    np.savez(tmp_path / "d.npz", x=X, y=labels)
    source = open_source(f"npz:{tmp_path / 'd.npz'}")
    refused = refusal(source, "bce", lambda z: z)
    assert refused is not None
    assert "marks as missing" in refused.hint
    np.savez(tmp_path / "e.npz", x=X, y=labels * 2)
    refused = refusal(open_source(f"npz:{tmp_path / 'e.npz'}"), "bce", lambda z: z)
    assert refused is not None
    assert "marks as missing" not in refused.hint

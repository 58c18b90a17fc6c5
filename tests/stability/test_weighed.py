"""A training loss that weighs yes and no, or classes, otherwise is named with its weights, and confirmed when given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from short_runs import Make, checks, sgd, short_run
from torch import Tensor, nn

from opsigcli.stability.weighed import parts_of, possible_weights, weights_told

ADAM: Make = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731


def test_one_number_is_told_where_all_outputs_have_it() -> None:
    parts = parts_of(["gradient", "yes 0", "yes 1", "no"])
    assert parts == ["yes 0", "yes 1", "no"]
    assert "--loss 'bce?pos_weight=5'" in weights_told(parts, [5.0001, 5.0, 1.0], 0.1)
    assert "--loss 'bce?pos_weight=5,2'" in weights_told(parts, [5.0, 2.0, 1.0], 0.1)
    assert weights_told(parts, [2.5, 2.5, 0.5], 0.1).endswith("pos_weight=5'), with a learning rate of 0.05")
    assert "ce?weight=2,0.5" in weights_told(["class 0", "class 1"], [2.0, 0.5])


def test_weights_below_nothing_are_none() -> None:
    assert possible_weights([1.0, 0.0])
    assert not possible_weights([1.0, -0.1])
    assert not possible_weights([0.9998, 0.9997, 0.9999])  # but the rest of another cause, shared out
    assert not possible_weights([0.0, 0.0])


@pytest.mark.parametrize(
    ("made", "weights", "outputs", "option"),
    [
        pytest.param(sgd(lr=0.1), (3.0, 1.0, 7.0), 3, "bce?pos_weight=3,1,7", id="gd"),
        pytest.param(sgd(lr=0.1, momentum=0.9), (6.0,), 1, "bce?pos_weight=6", id="momentum"),
        pytest.param(ADAM, (4.0, 4.0, 4.0), 3, "bce?pos_weight=4", id="adam"),
    ],
)
def test_what_weighs_yes_is_named(
    opsig: Opsig, tmp_path: Path, made: Make, weights: tuple[float, ...], outputs: int, option: str
) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 6)).astype("f4")
    y = (x[:, :outputs] + generator.normal(size=(120, outputs)) > 1).astype("f4")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    built = f"nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, {outputs}))"
    (tmp_path / "net.py").write_text(f"from torch import nn\ndef build(): return {built}\n")
    torch.manual_seed(0)
    net, folder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs)), tmp_path / "run"
    folder.mkdir()
    rule = made(list(net.parameters()))
    for step in range(4):
        torch.save(
            {"model": net.state_dict(), "optimizer": rule.state_dict(), "step": step},
            folder / f"step_{step}.pt",
        )
        rule.zero_grad()
        loss: Tensor = F.binary_cross_entropy_with_logits(
            net(torch.tensor(x)), torch.tensor(y), pos_weight=torch.tensor(weights)
        )
        loss.backward()
        rule.step()
    store = tmp_path / "s.h5"
    words = (
        "trace",
        folder,
        "--model",
        f"file:{tmp_path}/net.py:build",
        "--data",
        f"npz:{tmp_path}/data.npz",
    )
    assert opsig(*words, "--store", store, "--loss", "bce").code == 0
    for found in checks(opsig, store, "--steps", "0:2"):
        assert found["verdict"] == "contradicted"
        assert f"(--loss '{option}')" in found["reason"]
    assert opsig(*words, "--store", store, "--loss", option, "--fresh").code == 0
    assert {found["verdict"] for found in checks(opsig, store, "--steps", "0:2")} == {"confirmed"}


def test_weights_of_classes_are_named_under_adam(opsig: Opsig, tmp_path: Path) -> None:
    store = short_run(opsig, tmp_path, ADAM, weights=(5.0, 1.0, 1.0, 1.0))
    (found,) = checks(opsig, store, "--steps", "4:4")
    assert found["verdict"] == "contradicted"
    assert "classes with weights 2.5,0.5,0.5,0.5 in the mean loss" in found["reason"]

"""InstanceNorms normalise examples by their own statistics, as in training, whatever they store."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import nn

from opsigcli.objective.instance_norm import by_their_own, said

NET = """
from torch import nn

def make(track=True):
    norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=track)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
"""


def net(track: bool = True) -> nn.Module:
    space: dict[str, nn.Module] = {}
    exec(NET, space)
    return space["make"](track)  # type: ignore[operator, no-any-return]


def test_losses_and_sharpness_are_those_of_the_function_that_was_trained(
    opsig: Opsig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(30, 3, 8, 8) + 1, torch.arange(30) % 3
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "ck").mkdir()
    model = net()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(5):
        content = {"model": model.state_dict(), "optimizer": rule.state_dict(), "step": step}
        torch.save(content, tmp_path / "ck" / f"step_{step}.pt")
        rule.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        rule.step()
    words = ("--model", f"file:{tmp_path / 'net.py'}:make", "--data", f"npz:{tmp_path / 'd.npz'}")
    done = opsig("trace", tmp_path / "ck", *words, "--store", tmp_path / "s.h5", "--json")
    assert done.code == 0, done.err
    assert said(["1"]) in done.json["warnings"]
    last = torch.load(tmp_path / "ck" / "step_4.pt")["model"]
    trained = net().double()
    trained.load_state_dict(last)
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(trained.train()(x.double()), y))
        stored = float(nn.functional.cross_entropy(trained.eval()(x.double()), y))
    found = done.json["result"]["look"]["checkpoints"]["step_4.pt"]["mean_loss"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert abs(found - stored) > 0.01
    # Without stored statistics it is the same function.
    plain = {key: value for key, value in last.items() if "running" not in key and "tracked" not in key}
    (tmp_path / "plain").mkdir()
    torch.save({"model": plain, "optimizer": rule.state_dict(), "step": 4}, tmp_path / "plain" / "step_4.pt")
    words = ("--model", f"file:{tmp_path / 'net.py'}:make?track=false", *words[2:])
    assert opsig("trace", tmp_path / "plain", *words, "--store", tmp_path / "p.h5").code == 0
    values = [
        opsig("sharpness", "--store", tmp_path / name, "--json").json["result"]["points"][-1]["eigenvalues"][
            0
        ]
        for name in ("s.h5", "p.h5")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_training_mode_and_copies_go_on_as_they_were() -> None:
    model, other = net(), net()
    other.load_state_dict(model.state_dict())
    assert by_their_own(model) == ["1"]
    assert by_their_own(net(track=False)) == []
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(model(x), other(x))
    norm, its = model[1], other[1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, its.running_mean)
    copied = copy.deepcopy(model).eval()
    with torch.no_grad():
        copied[1].weight.mul_(2)  # type: ignore[index]
        torch.testing.assert_close(model.eval()(x), other(x))
        assert not torch.allclose(copied(x), model(x))

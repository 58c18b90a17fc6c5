"""Outputs that are of targets on another scale than the data's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from numpy.typing import NDArray
from torch import nn

from opsigcli.runs.other_scale import near_their_mean, other_scale

RNG = np.random.default_rng(0)
ONE = np.exp(RNG.normal(5.5, 0.3, (200, 1)))
THREE = ONE * np.array([1.0, 30.0, 0.01]) + np.array([0.0, -7.0, 4.0]) + RNG.normal(size=(200, 3))
EVEN = np.full(200, 1 / 200)


def noisy(z: NDArray[np.float64], share: float = 0.1) -> NDArray[np.float64]:
    """Outputs of a model that explains all but a hundredth of its targets."""
    return np.asarray(z + share * z.std(0) * np.random.default_rng(1).normal(size=z.shape))


@pytest.mark.parametrize(
    ("targets", "formula"),
    [
        (ONE, "(y - y.mean()) / y.std()"),
        (ONE, "(y - y.min()) / (y.max() - y.min())"),
        (ONE, "2 * (y - y.min()) / (y.max() - y.min()) - 1"),
        (ONE, "y / 100"),
        (ONE, "numpy.log(y)"),
        (ONE, "(numpy.log(y) - numpy.log(y).mean()) / numpy.log(y).std()"),
        (THREE, "(y - y.mean(0)) / y.std(0)"),
        (THREE, "(y - y.mean()) / y.std()"),
    ],
)
def test_usual_scales_are_named_by_what_makes_them(targets: NDArray[np.float64], formula: str) -> None:
    trained = eval(formula, {"numpy": np, "y": targets})
    found = other_scale(noisy(trained), targets, EVEN)
    assert found is not None
    assert found.formula == formula
    assert found.explained == pytest.approx(0.99, abs=0.01)
    assert formula in found.words


def test_an_unusual_scale_is_a_line() -> None:
    found = other_scale(noisy(0.004 * ONE - 1.01, 0.01), ONE, EVEN)
    assert found is not None
    slope, _, rest = found.formula.partition(" * y - ")
    assert (float(slope), float(rest)) == pytest.approx((0.004, 1.01), rel=0.01)


def test_outputs_that_hardly_follow_the_targets_are_of_no_scale() -> None:
    standard = (ONE - ONE.mean()) / ONE.std()
    assert other_scale(noisy(standard, 2.0), ONE, EVEN) is None
    assert other_scale(-standard, ONE, EVEN) is None
    assert other_scale(np.zeros_like(ONE), ONE, EVEN) is None
    assert other_scale(np.full_like(THREE, np.nan), THREE, EVEN) is None


def test_outputs_near_the_mean_target_are_told_from_others() -> None:
    flat = ONE.mean() + 0.1 * (ONE - ONE.mean())
    assert near_their_mean(flat, ONE, EVEN) == pytest.approx(0.01)
    assert near_their_mean(flat + ONE.std(), ONE, EVEN) is None
    assert near_their_mean(ONE, ONE, EVEN) is None
    assert near_their_mean(THREE, THREE, EVEN) is None
    assert near_their_mean(np.full_like(ONE, np.nan), ONE, EVEN) is None


@pytest.mark.parametrize(("broadcast", "near"), [(True, True), (True, False), (False, True)])
def test_outputs_held_against_all_targets_are_named(
    opsig: Opsig, tmp_path: Path, broadcast: bool, near: bool
) -> None:
    x = np.random.default_rng(1).normal(size=(80, 4)).astype("f4")
    y = (x @ np.array([1.0, -1.0, 0.5, 0.0])).astype("f4")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    (tmp_path / "net.py").write_text("from torch import nn\ndef build(): return nn.Linear(4, 1)\n")
    torch.manual_seed(0)
    net, folder = nn.Linear(4, 1), tmp_path / "run"
    folder.mkdir()
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    wanted = torch.tensor(y if broadcast else y[:, None])
    for step in range(41):
        if step < 3 if near else step % 20 == 0:
            kept = {"model": net.state_dict(), "optimizer": rule.state_dict(), "step": step}
            torch.save(kept, folder / f"step_{step}.pt")
        rule.zero_grad()
        (net(torch.tensor(x)) - wanted).square().mean().backward()
        rule.step()
    words = (
        "--model",
        f"file:{tmp_path}/net.py:build",
        "--loss",
        "mse",
        "--data",
        f"npz:{tmp_path}/data.npz",
    )
    done = opsig("trace", folder, *words, "--store", tmp_path / "s.h5", "--json").json
    flat = any("outputs hardly differ from one example to another" in line for line in done["warnings"])
    assert flat or not broadcast or near
    assert broadcast or not flat
    if near:
        first = opsig("sharpness", "--store", tmp_path / "s.h5", "--json").json["result"]["points"][0]
        check = first["step_check"]
        assert check["verdict"] == ("contradicted" if broadcast else "confirmed")
        assert ("each output against all targets" in check["reason"]) is broadcast


def test_a_trace_says_so_and_init_refuses(opsig: Opsig, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(120, 6)).astype("f4")
    y = (250 + 80 * x[:, :1]).astype("f4")
    np.savez(tmp_path / "raw.npz", x=x, y=y)
    np.savez(tmp_path / "own.npz", x=x, y=(y - y.mean()) / y.std())
    (tmp_path / "net.py").write_text("from torch import nn\ndef build(): return nn.Linear(6, 1)\n")
    torch.manual_seed(0)
    net, folder = nn.Linear(6, 1), tmp_path / "run"
    folder.mkdir()
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    wanted = torch.tensor((y - y.mean()) / y.std())
    for step in range(41):
        if step % 20 == 0:
            torch.save(net.state_dict(), folder / f"step_{step}.pt")
        rule.zero_grad()
        nn.functional.mse_loss(net(torch.tensor(x)), wanted).backward()
        rule.step()
    words = ("--model", f"file:{tmp_path}/net.py:build", "--loss", "mse")
    data = f"npz:{tmp_path}/raw.npz"
    said = opsig("trace", folder, *words, "--data", data, "--store", tmp_path / "s.h5", "--json").json
    assert any("targets standardised" in line and "y.mean()) / y.std()" in line for line in said["warnings"])
    refused = opsig("init", folder, *words, "--data", data)
    assert (refused.code, "targets standardised" in " ".join(refused.err.split())) == (3, True)
    data = f"npz:{tmp_path}/own.npz"
    said = opsig("trace", folder, *words, "--data", data, "--store", tmp_path / "t.h5", "--json").json
    assert "standardised" not in " ".join(said["warnings"])

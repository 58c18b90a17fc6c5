"""Checkpoints with the optimizers of several nets of equal shapes: each net is judged by its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from short_runs import NET

Rule = Callable[[Any], torch.optim.Optimizer]
Points = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def twins(opsig: Opsig, tmp_path: Path) -> Callable[..., Points]:
    """Two nets of one kind, trained side by side by a rule each, in the same files."""

    def train(*rules: Rule, apart: int = 1, decay: float = 1.0, late: bool = False) -> Points:
        generator = np.random.default_rng(0)
        inputs = generator.normal(size=(40, 12)).astype(np.float32)
        np.savez(tmp_path / "data.npz", x=inputs, y=np.arange(40) % 4)
        (tmp_path / "net.py").write_text(NET)
        scope: dict[str, Any] = {}
        exec(NET, scope)
        torch.manual_seed(0)
        nets = {"netG": scope["Tanh"](), "netD": scope["Tanh"]()}
        own = [rule(net.parameters()) for rule, net in zip(rules, nets.values(), strict=True)]
        folder = tmp_path / "run"
        folder.mkdir()
        for step in range(apart, 5 * apart, apart):
            for net, rule in list(zip(nets.values(), own, strict=True)) * apart:
                rule.zero_grad()
                F.cross_entropy(net(torch.tensor(inputs)), torch.arange(40) % 4).backward()
                rule.step()
            groups = [group for rule in own for group in rule.param_groups]
            for group in groups:
                group["lr"] *= 1.0 if late else decay
            states = {f"optimizer{name[3:]}": rule.state_dict() for name, rule in zip(nets, own, strict=True)}
            weights = {name: net.state_dict() for name, net in nets.items()}
            torch.save({"step": step} | weights | states, folder / f"s_{step}.pt")
            for group in groups:
                group["lr"] *= decay if late else 1.0

        def points(key: str, *words: object) -> list[dict[str, Any]]:
            store = tmp_path / f"{key}.h5"
            data = ("--data", f"npz:{tmp_path}/data.npz", "--model", f"file:{tmp_path}/net.py:Tanh")
            assert opsig("trace", folder, "--store", store, "--key", key, *data).code == 0
            found: list[dict[str, Any]] = opsig(
                "sharpness",
                "--store",
                store,
                "--tolerance",
                0.05,
                "--steps",
                f"{2 * apart}:{2 * apart}",
                "--json",
                *words,
            ).json["result"]["points"]
            return found

        return points

    return train


def adam(lr: float) -> Rule:
    return lambda parameters: torch.optim.Adam(parameters, lr)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.3)


@pytest.mark.parametrize(("key", "threshold"), [("netG", 3800), ("netD", 38 / 0.003)])
def test_states_tell_which_of_two_optimizers_moved_the_weights(
    twins: Callable[..., Points], key: str, threshold: float
) -> None:
    """The first that fitted was taken, and the second net had the ratio of the other's rule and state."""
    (point,) = twins(adam(0.01), adam(0.003))(key)
    assert point["threshold"] == pytest.approx(threshold)
    assert point["step_check"]["verdict"] == "confirmed"


def test_where_no_state_tells_the_optimizer_there_is_no_ratio_until_it_is_given(
    twins: Callable[..., Points],
) -> None:
    points = twins(adam(0.01), sgd)
    for key, words, threshold in (
        ("netG", ("--optimizer", "adam"), 3800),
        ("netD", ("--optimizer", "sgd", "--lr", 0.3), 2 / 0.3),
    ):
        (point,) = points(key)
        assert point["ratio"] is None
        assert "several optimizers fit" in point["reason"]
        (point,) = points(key, *words)
        assert point["threshold"] == pytest.approx(threshold)
        assert point["step_check"]["verdict"] == "confirmed"


@pytest.mark.parametrize(("second", "stored"), [(0.003, np.nan), (0.01, 0.01)])
def test_a_trace_has_the_rate_of_several_optimizers_where_they_have_one(
    twins: Callable[..., Points], tmp_path: Path, second: float, stored: float
) -> None:
    """It had the first one's, which the other net was not trained with."""
    twins(adam(0.01), adam(second))("netD")
    with h5py.File(tmp_path / "netD.h5") as file:
        np.testing.assert_allclose(file["lrs"][:], stored)


def test_a_rate_that_changes_until_the_next_checkpoint_is_noted_of_the_own_optimizer(
    twins: Callable[..., Points],
) -> None:
    (point,) = twins(adam(0.01), adam(0.003), apart=3, decay=0.5)("netD")
    assert any(
        "the learning rate is 0.00075 here and 0.000375 at the next" in note for note in point["notes"]
    )


def test_rates_of_several_optimizers_that_were_saved_late_are_told(twins: Callable[..., Points]) -> None:
    (point,) = twins(adam(0.01), adam(0.003), decay=0.5, late=True)("netD")
    assert point["threshold"] == pytest.approx(38 / 0.00075)
    assert point["step_check"]["verdict"] == "confirmed"


@pytest.mark.parametrize(("key", "lr"), [("netG", 0.3), ("netD", 0.003)])
@pytest.mark.parametrize("apart", [1, 3])
def test_momenta_tell_which_of_two_optimizers_moved_the_weights(
    twins: Callable[..., Points], key: str, lr: float, apart: int
) -> None:
    """Not read, they left the lengths of steps, by which the larger rate was always the nearer one."""

    def momentum(lr: float) -> Rule:
        return lambda parameters: torch.optim.SGD(parameters, lr, momentum=0.9)

    (point,) = twins(momentum(0.3), momentum(0.003), apart=apart)(key)
    assert point["threshold"] == pytest.approx(3.8 / lr)
    assert point["step_check"]["verdict"] == ("confirmed" if apart == 1 else "cannot be told")

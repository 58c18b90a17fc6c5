"""Virtual steps and causal arms train as the run did at the checkpoint: its rule, its rate, its parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from short_runs import Make, sgd, short_run
from torch import nn

from opsigcli.errors import UsageError
from opsigcli.gradients.fork import fork
from opsigcli.options import MineOptions
from opsigcli.runs.stored_run import StoredRun
from opsigcli.store.reader import open_store

Run = Callable[..., Path]


@pytest.fixture
def foreign(opsig: Opsig, tmp_path: Path) -> Run:
    """The store of a run of plain torch on data of its own."""
    return partial(short_run, opsig, tmp_path)


def head_only(rule: Make) -> Make:
    return lambda parameters: rule(parameters[2:])


@pytest.mark.parametrize(
    "rule", [sgd(lr=0.3), sgd(lr=0.1, momentum=0.9), lambda parameters: torch.optim.Adam(parameters, lr=0.01)]
)
def test_a_virtual_step_moves_only_the_weights_that_the_optimizer_has(
    opsig: Opsig, foreign: Run, tmp_path: Path, rule: Make
) -> None:
    store = foreign(head_only(rule))
    again = tmp_path / "virtual.h5"
    result = opsig("trace", tmp_path / "run", "--store", again, "--virtual-step", "--json", *named(tmp_path))
    assert result.code == 0, result.err
    assert not result.json["warnings"]
    with h5py.File(again) as file, h5py.File(store) as before:
        assert np.array_equal(file["losses"][()], before["losses"][()])
        np.testing.assert_allclose(file["virtual_deltas"][:-1], file["loss_deltas"][()], rtol=1e-4, atol=1e-5)


def named(place: Path) -> tuple[str, ...]:
    return ("--model", f"file:{place}/net.py:Tanh", "--data", f"npz:{place}/data.npz", "--loss", "ce")


def test_virtual_steps_by_a_rule_that_the_weights_contradict_are_warned_of(
    opsig: Opsig, foreign: Run, tmp_path: Path
) -> None:
    foreign(sgd(lr=0.2))
    words = ("trace", tmp_path / "run", "--store", tmp_path / "v.h5", "--virtual-step", *named(tmp_path))
    result = opsig(*words, "--lr", 0.4, "--json")
    assert any(
        "contradict" in warning and "0.2 instead of 0.4" in warning for warning in result.json["warnings"]
    )


def scheduled(*, rates: tuple[float, ...]) -> Make:
    """SGD whose learning rate is the next one of some after every update."""

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(parameters, lr=rates[0], momentum=0.9)
        left = list(rates[1:])

        def change(*_: object) -> None:
            optimizer.param_groups[0]["lr"] = left.pop(0) if left else rates[-1]

        optimizer.register_step_post_hook(change)
        return optimizer

    return make


def test_causal_arms_go_on_by_rule_and_learning_rate_of_their_checkpoint(foreign: Run) -> None:
    with open_store(foreign(scheduled(rates=(0.1, 0.2, 0.3, 0.0)))) as store:
        run = StoredRun(store, MineOptions())
        (part,) = fork(run, 1).parts
        assert (part.name, part.hyper["lr"], part.hyper["momentum"]) == ("momentum", 0.2, 0.9)
        with pytest.raises(UsageError, match="the learning rate there is 0"):
            fork(run, 4)


def test_causal_arms_without_a_known_rule_are_refused_before_the_work(opsig: Opsig, foreign: Run) -> None:
    store = foreign(sgd(lr=0.2), state=False)
    result = opsig("mine", "--causal", "--store", store)
    assert result.code == 2
    assert "--causal trains on from step" in result.err
    with open_store(store) as kept:
        assert kept.mining is None


def test_causal_arms_by_a_rule_that_the_weights_contradict_are_warned_of(opsig: Opsig, foreign: Run) -> None:
    store = foreign(sgd(lr=0.2), smoothing=0.2)
    result = opsig("mine", "--causal", "--store", store, "--json")
    assert result.code == 0, result.err
    assert any("contradict" in warning for warning in result.json["warnings"])

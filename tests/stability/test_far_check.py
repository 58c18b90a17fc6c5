"""Checkpoints many steps apart: what moved farther than the mean loss can move it was no step on the mean loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Opsig
from short_runs import Make, checks, sgd, short_run

from opsigcli.sharpness_records import CONTRADICTED, UNTOLD

pytestmark = pytest.mark.slow  # many short runs


@pytest.fixture
def far(opsig: Opsig, tmp_path: Path) -> Callable[..., Path]:
    """The store of a run of plain torch, whose checkpoints are ten steps apart."""
    return partial(short_run, opsig, tmp_path, updates=10, counted=True)


ADAM: Make = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731
RMSPROP: Make = lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, alpha=0.8)  # noqa: E731
ADAGRAD: Make = lambda parameters: torch.optim.Adagrad(parameters, lr=0.1)  # noqa: E731
SGD_MEAN = [
    (sgd(lr=0.3), None), (sgd(lr=0.3), 20), (sgd(lr=0.05, momentum=0.9), None), (sgd(lr=0.05, momentum=0.9), 20),
    (sgd(lr=0.05, momentum=0.9, nesterov=True), 20), (sgd(lr=0.3, weight_decay=0.1), 20), (ADAM, 20),
    (RMSPROP, 20), (ADAGRAD, None), (ADAGRAD, 20),
]  # fmt: skip


@pytest.mark.parametrize(("made", "batch"), SGD_MEAN)
def test_runs_on_the_mean_loss_are_not_contradicted(
    opsig: Opsig, far: Callable[..., Path], made: Make, batch: int | None
) -> None:
    found = checks(opsig, far(made, batch=batch))
    assert {check["verdict"] for check in found} == {UNTOLD}
    reach = [check["reach"] for check in found if check["reach"] is not None]
    assert len(reach) >= 6
    assert max(reach) < 1


@pytest.mark.parametrize(
    ("made", "batch", "words"),
    [
        (sgd(lr=0.001), None, "in 10 steps to the next checkpoint the weights moved"),
        (sgd(lr=0.005), 20, "in 10 steps to the next checkpoint the weights moved"),
        (sgd(lr=0.0005, momentum=0.9), None, "in 10 steps"),
        (ADAM, None, "the momentum in the checkpoint is"),
        (RMSPROP, None, "the second moments in the checkpoint are of gradients"),
        (ADAGRAD, None, "the second moments in the checkpoint are of gradients"),
        (ADAGRAD, 20, "the second moments in the checkpoint are of gradients"),
    ],
)
def test_a_summed_loss_is_told_and_the_rate_on_the_mean_accepted(
    opsig: Opsig, far: Callable[..., Path], made: Make, batch: int | None, words: str
) -> None:
    store = far(made, batch=batch, reduction="sum")
    given = ("--minibatch", batch) if batch else ()
    found = checks(opsig, store, *given)
    told = [check for check in found if check["verdict"] == CONTRADICTED]
    assert len(told) >= 4
    assert words in told[0]["reason"]
    assert "summed over" in told[0]["reason"]
    if made in (ADAM, RMSPROP, ADAGRAD):
        return
    if batch:
        assert "--lr 0.1" in told[0]["reason"]
    said = opsig("report", "--store", store).out
    assert "threshold that the weights contradict" in said
    assert "× the stability threshold" not in said
    lr = {None: 240, 20: 20}[batch] * made([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
    right = checks(opsig, store, *given, "--lr", lr)
    assert all(check["verdict"] != CONTRADICTED for check in right)


def test_no_step_of_one_learning_rate_goes_so_far(opsig: Opsig, far: Callable[..., Path]) -> None:
    """A rate that is told wrong is as far from the run's own as a summed loss."""
    store = far(sgd(lr=0.3), state=False)
    given = ("--optimizer", "gd", "--lr")
    assert all(check["verdict"] == UNTOLD for check in checks(opsig, store, *given, 0.3))
    told = checks(opsig, store, *given, 0.003)
    assert sum(check["verdict"] == CONTRADICTED for check in told) >= 4

"""The optimizer's own states: they confirm or contradict a rule without the batch that made the step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig
from short_runs import Make, checks, sgd, short_run

from opsigcli.stability.state_fits import moments

Run = Callable[..., Path]


@pytest.fixture
def foreign(opsig: Opsig, tmp_path: Path) -> Run:
    """The store of a run of plain torch on data of its own."""
    return partial(short_run, opsig, tmp_path)


AT = ("--steps", "5:5")


def made(kind: type[torch.optim.Optimizer], **hyper: Any) -> Make:
    return lambda parameters: kind(parameters, **hyper)


def split(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    matrices, biases = ([p for p in parameters if (p.ndim > 1) is which] for which in (True, False))
    groups = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


def test_betas_are_told_from_two_states_of_gradients_that_nobody_knows() -> None:
    generator = torch.Generator().manual_seed(0)
    m, v = torch.zeros(2, 300)
    for _ in range(30):
        before = m, v
        gradient = torch.randn(300, generator=generator)
        m, v = 0.8 * m + 0.2 * gradient, 0.97 * v + 0.03 * gradient**2
    found = moments(*before, m, v)
    assert found == pytest.approx((0.8, 0.97), rel=1e-4)
    assert moments(*before, m, torch.randn(300, generator=generator).square()) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        made(torch.optim.Adam, lr=0.01, weight_decay=0.01),
        made(torch.optim.AdamW, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3),
        made(torch.optim.NAdam, lr=0.01),
        made(torch.optim.RMSprop, lr=0.01),
        split,
        sgd(lr=0.05, momentum=0.9, nesterov=True),
    ],
)
def test_the_states_confirm_a_rule_whose_batches_are_not_known(
    opsig: Opsig, foreign: Run, rule: Make
) -> None:
    store = foreign(rule, batch=40)
    for words in ((), ("--minibatch", 40)):
        (found,) = checks(opsig, store, *AT, *words)
        assert found["verdict"] == "confirmed", found
        assert "own states" in found["reason"]
        assert found["relative_error"] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "assumed", "cause"),
    [
        (made(torch.optim.Adam, lr=0.01), ("--betas", "0.9,0.99"), "β₂ 0.999 instead of 0.99"),
        (made(torch.optim.Adam, lr=0.01), ("--betas", "0.95,0.999"), "β₁ 0.9 instead of 0.95"),
        (made(torch.optim.Adam, lr=0.01), ("--lr", 0.02), "a learning rate of 0.01 instead of 0.02"),
        (made(torch.optim.Adam, lr=0.01), ("--eps", 0.01), "ε 1e-08 instead of 1e-02"),
        (
            made(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
            ("--weight-decay", 0),
            "weight decay 0.1 instead of 0",
        ),
        (made(torch.optim.RMSprop, lr=0.01), ("--lr", 0.02), "a learning rate of 0.01 instead of 0.02"),
        (split, ("--betas", "0.9,0.99"), "β₂ 0.999 instead of 0.99"),
        (
            sgd(lr=0.05, momentum=0.9, nesterov=True),
            ("--momentum", 0.95),
            "learning rate of 0.05 and momentum 0.9",
        ),
        (sgd(lr=0.05, momentum=0.9), ("--optimizer", "nesterov"), "heavy ball instead of Nesterov"),
        (sgd(lr=0.05, momentum=0.9), ("--lr", 0.1), "a learning rate of 0.05 instead of 0.1"),
    ],
)
def test_what_is_wrong_is_named_from_the_states_of_minibatches(
    opsig: Opsig,
    foreign: Run,
    rule: Make,
    assumed: tuple[object, ...],
    cause: str,
) -> None:
    (found,) = checks(opsig, foreign(rule, batch=40), *AT, *assumed)
    assert found["verdict"] == "contradicted"
    assert cause in found["reason"]


@pytest.mark.slow
def test_a_momentum_that_the_states_do_not_tell_is_told_by_random_batches(opsig: Opsig, foreign: Run) -> None:
    store = foreign(sgd(lr=0.05, momentum=0.9), batch=40)
    (own,) = checks(opsig, store, *AT)
    assert own["verdict"] == "confirmed"
    assert "not the momentum" in own["reason"]
    assert checks(opsig, store, *AT, "--momentum", 0.95)[0]["verdict"] == "cannot be told"
    (wrong,) = checks(opsig, store, *AT, "--momentum", 0.3, "--minibatch", 40)
    assert wrong["verdict"] == "contradicted"
    assert (
        "the momentum seems to be 0.9" in wrong["reason"] or "the momentum seems to be 0.8" in wrong["reason"]
    )


@pytest.mark.slow
def test_an_l2_penalty_of_adam_is_named_on_all_examples(opsig: Opsig, foreign: Run) -> None:
    store = foreign(made(torch.optim.Adam, lr=0.01, weight_decay=0.05))
    assert checks(opsig, store, *AT)[0]["verdict"] == "confirmed"
    (found,) = checks(opsig, store, *AT, "--weight-decay", 0)
    assert found["verdict"] == "contradicted"
    assert "weight decay of 0.05 instead of 0" in found["reason"]


@pytest.mark.slow
def test_checkpoints_that_the_optimizer_counts_further_apart_are_not_one_step(
    opsig: Opsig, foreign: Run
) -> None:
    store = foreign(made(torch.optim.Adam, lr=0.01), updates=3)
    (found,) = checks(opsig, store, *AT)
    assert found["verdict"] == "cannot be told"
    assert "own count 3 updates" in found["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 30])
@pytest.mark.parametrize(
    "rule",
    [
        made(torch.optim.Adam, lr=0.01),
        made(torch.optim.Adagrad, lr=0.05),
        made(torch.optim.RMSprop, lr=0.01),
        sgd(lr=0.0005, momentum=0.9),
        sgd(lr=0.001),
    ],
)
def test_a_summed_loss_is_not_confirmed_by_states_that_divide_it_away(
    opsig: Opsig, foreign: Run, rule: Make, batch: int | None
) -> None:
    """The rule makes the step of the sum as of the mean: the ratio was too small by the number of examples."""
    store = foreign(rule, batch=batch, reduction="sum")
    (found,) = checks(opsig, store, *AT)
    assert found["verdict"] == "contradicted", found
    summed = "240 times the mean" if batch is None else "summed over"
    assert summed in found["reason"] or "lr 0.24" in found["reason"], found["reason"]
    if batch is not None:
        assert checks(opsig, store, *AT, "--minibatch", batch)[0]["verdict"] == "contradicted"


@pytest.mark.slow
def test_the_rate_on_the_mean_is_taken_beside_the_momentum_of_a_sum(opsig: Opsig, foreign: Run) -> None:
    store = foreign(sgd(lr=0.0005, momentum=0.9), reduction="sum")
    (right,) = checks(opsig, store, *AT, "--lr", 0.12)
    assert right["verdict"] == "confirmed", right
    assert "240 times the mean" in right["reason"]
    assert checks(opsig, store, *AT, "--lr", 0.06)[0]["verdict"] == "contradicted"

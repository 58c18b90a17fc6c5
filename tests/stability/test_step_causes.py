"""Fits of a step name only what a rule can have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from opsigcli.stability.step_causes import Assumed, find_cause

ASSUMED = Assumed("gd", 0.1)


@pytest.fixture
def directions() -> dict[str, Tensor]:
    """Five directions that have nothing to do with one another, of 400 weights."""
    generator = torch.Generator().manual_seed(0)
    names = ("gradient", "weights", "previous", "before", "rule")
    return {name: torch.randn(400, generator=generator) for name in names}


@pytest.mark.parametrize(("beta", "lr"), [(0.9, 0.1), (1.06, 0.1), (-0.5, 0.1), (0.9, -0.1)])
def test_a_momentum_of_1_or_more_and_a_rate_below_0_are_no_cause(
    directions: dict[str, Tensor], beta: float, lr: float
) -> None:
    gradient, previous, before = (directions[name] for name in ("gradient", "previous", "before"))
    step = beta * previous - lr * (1 + beta) * gradient + lr * beta * before
    cause, signs = find_cause(step, directions, ASSUMED, [400], 1e-4)
    if beta == 0.9 and lr > 0:
        assert cause is not None
        assert (cause.rule, cause.lr, cause.momentum) == ("nesterov", pytest.approx(0.1), pytest.approx(0.9))
    else:
        assert cause is None
        assert not any("momentum 1.06" in sign or "-0.1" in sign for sign in signs)


def test_a_weight_decay_below_0_is_no_cause(directions: dict[str, Tensor]) -> None:
    for decay, found in ((0.05, True), (-0.05, False)):
        step = -0.1 * (directions["gradient"] + decay * directions["weights"])
        cause, _ = find_cause(step, {k: directions[k] for k in ("gradient", "weights")}, ASSUMED, [400], 1e-4)
        assert (cause is not None) is found, cause
        assert cause is None or "weight decay 0.05" in cause.text


def test_a_rate_for_each_parameter_and_frozen_ones_are_named(directions: dict[str, Tensor]) -> None:
    rule = directions["rule"]
    step = torch.cat([0 * rule[:100], 2 * rule[100:250], 3 * rule[250:]])
    cause, _ = find_cause(step, directions, ASSUMED, [100, 150, 150], 1e-4)
    assert cause is not None
    assert "1 of 3 parameters that are not trained" in cause.text
    assert "learning rates from 0.2 to 0.3" in cause.text

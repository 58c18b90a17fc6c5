"""Fits of a step name only what a rule can have."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from opsigcli.stability.clipped_values import limit_of
from opsigcli.stability.step_causes import Assumed, find_cause, least_squares

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


def test_weights_of_classes_are_a_cause_where_they_fit_and_no_sign_where_they_are_near() -> None:
    """So many values are free that they come near to steps of other causes."""
    generator = torch.Generator().manual_seed(1)
    parts = {f"class {k}": torch.randn(400, generator=generator) for k in range(4)}
    directions = {"gradient": sum(parts.values()), "rule": -0.1 * sum(parts.values()), **parts}
    weights = (2.0, 0.5, 1.0, 0.5)
    step = -0.1 * sum(weight * part for weight, part in zip(weights, parts.values(), strict=True))
    cause, _ = find_cause(step, directions, ASSUMED, [400], 1e-4)
    assert cause is not None
    assert "classes with weights 2,0.5,1,0.5 in the mean loss" in cause.text
    near = step + 0.2 * step.norm() * torch.nn.functional.normalize(
        torch.randn(400, generator=generator), dim=0
    )
    cause, signs = find_cause(near, directions, ASSUMED, [400], 1e-4)
    assert cause is None
    assert not any("classes" in sign for sign in signs)
    less = -0.1 * (parts["class 0"] - 0.5 * parts["class 1"])
    assert find_cause(less, directions, ASSUMED, [400], 1e-4)[0] is None  # no class counts less than nothing


@pytest.mark.parametrize("column", [torch.full((4,), 1e-45), torch.full((4,), torch.nan)])
def test_what_float32_cannot_scale_explains_nothing(column: Tensor) -> None:
    step = torch.full((4,), 3e38)
    assert least_squares(step, [column]) == ([0.0], 1.0)


def test_gradients_clipped_by_value_are_a_cause(directions: dict[str, Tensor]) -> None:
    gradient = directions["gradient"]
    given = {"gradient": gradient, "weights": directions["weights"]}
    for memory in (0.0, 0.3):  # what else is in the step of a rule that is linear in the gradient
        rule = -0.1 * (gradient + memory * directions["weights"])
        step = rule - 0.1 * (gradient.clamp(-0.5, 0.5) - gradient)
        cause, _ = find_cause(step, given | {"rule": rule}, ASSUMED, [400], 1e-4)
        assert cause is not None
        assert cause.text == "gradients clipped by value to 0.5 (clip_grad_value_)"
    assert find_cause(step, given | {"rule": rule}, replace(ASSUMED, lr=0.2), [400], 1e-4)[0] is None
    one = rule.clone()
    one[gradient.abs().argmax()] *= 0.5  # an entry alone has some limit
    assert find_cause(one, given | {"rule": rule}, ASSUMED, [400], 1e-4)[0] is None


def test_the_gradient_that_states_imply_tells_clipping_by_value() -> None:
    gradient = torch.randn(400, generator=torch.Generator().manual_seed(2))
    assert limit_of(gradient.clamp(-0.5, 0.5), gradient) == pytest.approx(0.5)
    assert math.isnan(limit_of(gradient, gradient))

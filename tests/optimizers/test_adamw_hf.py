"""The AdamW of transformers before version 5 against a loop of its steps."""

from __future__ import annotations

import math

import pytest
import torch

from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.recognise import from_state_dict

RULE = OPTIMIZERS.load("adamw_hf")


def stepped(
    theta: float,
    moments: list[float],
    gradient: float,
    step: int,
    hyper: dict[str, float],
    divisor: float = 0.0,
) -> float:
    """One update of a number as transformers made it, by ``divisor`` in place of that of the second moment."""
    first, second = 0.9, 0.99
    moments[0] = first * moments[0] + (1 - first) * gradient
    moments[1] = second * moments[1] + (1 - second) * gradient**2
    rate = hyper["lr"]
    if hyper["correct_bias"]:
        rate *= math.sqrt(1 - second**step) / (1 - first**step)
    theta -= rate * moments[0] / (divisor or math.sqrt(moments[1]) + hyper["eps"])
    return theta - hyper["lr"] * hyper["weight_decay"] * theta


@pytest.mark.parametrize("correct", [True, False])
def test_each_update_is_the_first_moment_over_the_preconditioner(correct: bool) -> None:
    hyper = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-2, "weight_decay": 0.0, "correct_bias": correct}
    theta, moments = 1.0, [0.0, 0.0]
    for step in range(1, 6):
        before, theta = theta, stepped(theta, moments, math.cos(step), step, hyper)
        state = {"step": step, "exp_avg_sq": torch.tensor([moments[1]], dtype=torch.float64)}
        weight = float(RULE.preconditioner({0: state}, hyper))
        assert theta == pytest.approx(before - 0.01 * moments[0] / weight)


@pytest.mark.parametrize("decay", [0.0, 1.0, 6.0])
def test_half_a_percent_decides_whether_it_converges(decay: float) -> None:
    hyper = {"lr": 0.05, "betas": (0.9, 0.99), "eps": 0.0, "weight_decay": decay, "correct_bias": False}
    limit = RULE.stability_threshold(hyper)
    for factor in (0.995, 1.005):
        theta, moments = 1e-9, [0.0, 0.0]
        for step in range(1, 6000):
            theta = stepped(theta, moments, factor * limit * 2 * theta, step, hyper, divisor=2.0)
            if abs(theta) > 1e-6:
                break
        assert abs(theta) < 1e-11 if factor < 1 else abs(theta) > 1e-7


def test_a_decay_that_leaves_nothing_has_no_threshold_above_zero() -> None:
    assert RULE.stability_threshold({"lr": 0.5, "weight_decay": 2.0}) < 0


def test_it_is_known_by_its_bias_correction() -> None:
    group = {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-6,
        "weight_decay": 0.1,
        "correct_bias": True,
        "params": [0],
    }
    state = {0: {"step": 3, "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}
    assert from_state_dict({"param_groups": [group], "state": state}).rule == "adamw_hf"
    state[0]["projector"] = None  # of GaLore, which is built on it
    assert from_state_dict({"param_groups": [group], "state": state}).rule == "galore"

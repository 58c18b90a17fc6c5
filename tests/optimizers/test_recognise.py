"""Optimizers recognised from the states that torch.optim writes."""

from __future__ import annotations

import pytest
import torch

from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.recognise import from_state_dict

HYPER = {
    "sgd": {"lr": 0.1, "weight_decay": 0.01},
    "momentum": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8},
    "nesterov": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8},
    "dampened": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8, "dampening": 0.5},
    "adam": {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6},
    "adamw": {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6},
    "rmsprop": {"lr": 0.1, "weight_decay": 0.2, "alpha": 0.7, "eps": 1e-6, "momentum": 0.5},
}


def state_of(rule: torch.optim.Optimizer) -> dict:
    for group in rule.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    rule.step()
    return rule.state_dict()


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(3))


@pytest.mark.parametrize("name", HYPER)
def test_an_optimizer_is_recognised_with_its_hyper_parameters(name):
    found = from_state_dict(state_of(OPTIMIZERS.load(name).build([parameter()], HYPER[name])))
    assert (found.name, found.hyper) == (name, HYPER[name])


def test_what_is_recognised_has_a_threshold():
    for name, hyper in HYPER.items():
        found = from_state_dict(state_of(OPTIMIZERS.load(name).build([parameter()], hyper)))
        rule = OPTIMIZERS.load(found.name)
        assert rule.stability_threshold(found.hyper) == rule.stability_threshold(hyper)


def test_a_learning_rate_kept_as_a_tensor_is_a_number():
    rule = torch.optim.Adam([parameter()], lr=torch.tensor(0.25), capturable=False, foreach=False)
    assert from_state_dict(state_of(rule)).hyper["lr"] == 0.25


def test_an_old_adamw_state_is_told_as_an_assumption():
    saved = state_of(torch.optim.AdamW([parameter()], lr=0.1))
    del saved["param_groups"][0]["decoupled_weight_decay"]
    found = from_state_dict(saved)
    assert found.name == "adamw"
    assert "taken for AdamW" in found.reason


@pytest.mark.parametrize("kind", ["NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "ASGD", "Rprop"])
def test_an_optimizer_without_a_known_threshold_is_not_guessed(kind):
    found = from_state_dict(state_of(getattr(torch.optim, kind)([parameter()], lr=0.1)))
    assert not found.name
    assert found.reason


def test_groups_with_different_learning_rates_have_no_single_threshold():
    rule = torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.2}], lr=0.1)
    found = from_state_dict(state_of(rule))
    assert not found.name
    assert "differ in lr" in found.reason


@pytest.mark.parametrize("saved", [{}, {"param_groups": []}, {"param_groups": [3]}, {"param_groups": [{}]}])
def test_a_state_that_is_none_is_not_recognised(saved):
    found = from_state_dict(saved)
    assert not found.name
    assert found.reason

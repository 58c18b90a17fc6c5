"""Optimizers recognised from the states that torch.optim writes."""

from __future__ import annotations

import pytest
import torch

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.recognise import from_state_dict

HYPER = {
    "sgd": {"lr": 0.1, "weight_decay": 0.01},
    "momentum": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8},
    "nesterov": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8},
    "dampened": {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.8, "dampening": 0.5},
    "adam": {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6, "amsgrad": True},
    "adamw": {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6, "amsgrad": True},
    "rmsprop": {
        "lr": 0.1,
        "weight_decay": 0.2,
        "alpha": 0.7,
        "eps": 1e-6,
        "momentum": 0.5,
        "centered": True,
    },
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


@pytest.mark.parametrize("kind", ["Adadelta", "Adafactor", "ASGD", "Rprop", "Muon"])
def test_an_optimizer_without_a_known_threshold_is_named_with_the_reason(kind):
    if not hasattr(torch.optim, kind):
        pytest.skip(f"this torch has no {kind}")
    matrix = torch.nn.Parameter(torch.ones(3, 2))
    found = from_state_dict(state_of(getattr(torch.optim, kind)([matrix], lr=0.1)))
    assert (found.name, found.rule) == ("", kind.lower())
    assert found.reason.startswith(f"no threshold: {found.rule}: ")
    with pytest.raises(UsageError, match="no threshold"):
        OPTIMIZERS.load(found.rule).stability_threshold({"lr": 0.1})
    with pytest.raises(UsageError, match="takes no steps"):
        OPTIMIZERS.load(found.rule).build([matrix], {"lr": 0.1})


TORCH = [
    "sgd",
    "momentum",
    "nesterov",
    "dampened",
    "adam",
    "adamw",
    "nadam",
    "radam",
    "adamax",
    "adagrad",
    "rmsprop",
]


@pytest.mark.parametrize("name", TORCH)
def test_a_key_more_is_another_optimizer_and_the_message_names_it(name):
    saved = state_of(OPTIMIZERS.load(name).build([parameter()], {"lr": 0.1}))
    saved["param_groups"][0]["gradient_noise"] = 0.1
    found = from_state_dict(saved)
    assert (found.name, found.rule) == ("", "")
    assert "'gradient_noise'" in found.reason
    assert "--optimizer and --lr" in found.reason


@pytest.mark.parametrize("name", TORCH)
def test_a_piece_of_state_more_is_another_optimizer(name):
    saved = state_of(OPTIMIZERS.load(name).build([parameter()], {"lr": 0.1}))
    saved["state"].setdefault(0, {})["slow_weights"] = torch.ones(3)
    found = from_state_dict(saved)
    assert not found.name
    assert "'slow_weights'" in found.reason


@pytest.mark.parametrize("name", TORCH)
def test_what_schedulers_and_scripts_add_to_groups_changes_nothing(name):
    rule = OPTIMIZERS.load(name).build([parameter()], {"lr": 0.1})
    rule.param_groups[0] |= {"name": "body", "lr_scale": 0.5, "param_names": ["w"]}
    momentum = name in {"momentum", "nesterov"}
    torch.optim.lr_scheduler.OneCycleLR(rule, max_lr=0.1, total_steps=10, cycle_momentum=momentum)
    assert from_state_dict(state_of(rule)).name == name


@pytest.mark.parametrize("name", TORCH)
def test_a_rule_that_maximizes_is_none_that_is_known(name):
    saved = state_of(OPTIMIZERS.load(name).build([parameter()], {"lr": 0.1}))
    saved["param_groups"][0]["maximize"] = True
    assert from_state_dict(saved).reason == "the optimizer maximizes"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("sgd", "nesterov"),
        ("momentum", "momentum"),
        ("sgdw", "sgdw"),
        ("nesterovw", "sgdw"),
        ("adamw", "adamw"),
        ("adamwlegacy", "adamw"),
        ("nadam", "nadam"),
        ("radamw", "radam"),
        ("rmsprop", "rmsprop"),
        ("rmsproptf", "rmsproptf"),
        ("rmsproptfw", "rmsproptf"),
        ("lars", "lars"),
        ("nlarc", "lars"),
        ("lookahead_adam", "lookahead"),
        ("lookahead_sgd", "lookahead"),
        ("lion", "lion"),
        ("muon", "muon"),
        ("sgdp", "sgdp"),
        ("adamp", "adamp"),
        ("lamb", "lamb"),
        ("adafactor", "adafactor"),
        ("adopt", "adopt"),
        ("adan", "adan"),
        ("adabelief", "adabelief"),
        ("csgdw", "cautious"),
        ("cadamw", "cautious"),
        ("crmsproptf", "cautious"),
        ("clion", "lion"),
        ("adamc", ""),
        ("sgdc", ""),
        ("rmsproptfc", ""),
        ("nadamw", ""),
        ("laprop", ""),
        ("radamlegacy", ""),
        ("novograd", ""),
    ],
)
@pytest.mark.parametrize("updated", [False, True])
def test_the_optimizers_of_timm_are_what_they_are_and_no_others(kind, name, updated):
    timm = pytest.importorskip("timm.optim")
    rule = timm.create_optimizer_v2(
        torch.nn.Linear(3, 4), kind, lr=0.1, weight_decay=0.1, filter_bias_and_bn=False
    )
    found = from_state_dict(state_of(rule) if updated else rule.state_dict())
    assert found.rule == name
    assert bool(found.name) == bool(name and OPTIMIZERS.load(name).limit)
    assert found.name or found.reason


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "sam"),
        ({"momentum": 0.9, "nesterov": True}, "sam"),
        ({"adaptive": True}, "sam_other"),
        ({"betas": (0.9, 0.99), "eps": 1e-8}, "sam_other"),
    ],
)
def test_sam_is_not_the_sgd_that_it_is_built_on(change, name):
    saved = torch.optim.SGD([parameter()], lr=0.1).state_dict()
    saved["param_groups"][0] |= {"rho": 0.05, "adaptive": False} | change
    saved["state"] = {0: {"old_p": torch.ones(3)}}
    found = from_state_dict(saved)
    assert (found.name, found.rule) == ("", name)
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

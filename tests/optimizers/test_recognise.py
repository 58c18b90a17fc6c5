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


def test_an_old_adamw_state_is_told_as_an_assumption():
    saved = state_of(torch.optim.AdamW([parameter()], lr=0.1))
    del saved["param_groups"][0]["decoupled_weight_decay"]
    found = from_state_dict(saved)
    assert found.name == "adamw"
    assert "taken for AdamW" in found.reason


@pytest.mark.parametrize(
    "kind", [k for k in ("Adadelta", "Adafactor", "ASGD", "Rprop", "Muon") if hasattr(torch.optim, k)]
)
def test_an_optimizer_without_a_known_threshold_is_named_with_the_reason(kind):
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
    rule.param_groups[0] |= {"name": "body", "lr_scale": 0.5, "param_names": ["w"], "group_name": "body"}
    rule.param_groups[0] |= {"lr_mult": 2.0, "decay_mult": 0.0, "layer_id": 3, "warmup": 100, "swa_lr": 0.05}
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
        ("adamc", "corrected_weight_decay"),
        ("sgdc", "corrected_weight_decay"),
        ("rmsproptfc", "corrected_weight_decay"),
        ("nadamw", "nadamw"),
        ("nadamlegacy", "nadamlegacy"),
        ("radamlegacy", ""),
        ("novograd", "novograd"),
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


KNOWN_OF_TIMM = {
    **{kind: kind for kind in TORCH if kind not in ("sgd", "dampened")},
    **dict.fromkeys(("lars", "larc", "nlars", "nlarc"), "lars"),
    **{"sgd": "nesterov", "sgdw": "sgdw", "nesterovw": "sgdw", "adamwlegacy": "adamw", "radamw": "radam"},
    **{"rmsproptf": "rmsproptf", "rmsproptfw": "rmsproptf"},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:It is highly recommended")
def test_no_other_optimizer_of_timm_has_a_threshold():
    timm = pytest.importorskip("timm.optim")
    for kind in timm.list_optimizers(exclude_filters=["bnb*", "fused*"]):  # those need a GPU
        rule = timm.create_optimizer_v2(
            [torch.nn.Parameter(torch.ones(4, 3))], kind, lr=0.1, weight_decay=0.1
        )
        for saved in (rule.state_dict(), state_of(rule) if kind != "adahessian" else rule.state_dict()):
            found = from_state_dict(saved)
            assert found.name == KNOWN_OF_TIMM.get(kind, ""), kind
            assert found.name or found.reason
            assert not found.rule or found.name or OPTIMIZERS.load(found.rule).limit is None


@pytest.mark.parametrize(
    ("group", "state", "rule"),
    [
        ({"betas": 2, "d": 1, "d0": 1, "d_coef": 1, "growth_rate": 1, "eps": 1}, {"s", "p0"}, "prodigy"),
        ({"momentum": 1, "d": 1, "growth_rate": 1, "numerator_weighted": 1}, {"z", "s"}, "dadaptation"),
        ({"betas": 2, "d": 1, "numerator_weighted": 1}, {"exp_avg", "s"}, "dadaptation"),
        ({"betas": 2, "eps": 1, "precondition_frequency": 1, "shampoo_beta": 1}, {"GG", "Q"}, "soap"),
        ({"betas": 2, "rho": 1}, {"step", "exp_avg", "hessian"}, "sophia"),
        ({"betas": 3, "eps": 2, "clip_threshold": 1}, {"exp_avg", "exp_avg_res_row"}, "came"),
        ({"betas": 2, "eps": 1, "rank": 1, "update_proj_gap": 1}, {"exp_avg", "projector"}, "galore"),
        ({"momentum": 1, "matrix_eps": 1}, {"pre_cond_0", "inv_pre_cond_0"}, "shampoo"),
        ({"betas": 2, "eps": 1, "max_grad_norm": 1}, {"exp_avg", "exp_avg_diff"}, "adan"),
        ({"betas": 2, "eps": 1, "max_grad_norm": 1}, {"exp_avg", "exp_avg_sq"}, "lamb"),
        ({"betas": 2, "eps": 1, "hessian_power": 1}, {"hessian step"}, "adahessian"),
        ({"betas": 2, "eps": 1, "caution": 1}, {"exp_avg_sq", "exp_avg_lr_1", "exp_avg_lr_2"}, "laprop"),
        ({"betas": 2}, {"exp_avg"}, "lion"),
        ({"max_iter": 20, "history_size": 100, "line_search_fn": 1}, {"old_dirs", "H_diag"}, "lbfgs"),
    ],
)
def test_rules_without_a_threshold_are_named_by_the_keys_of_their_authors(group, state, rule):
    numbers = {key: (0.9,) * value if key == "betas" else 0.0 for key, value in group.items()}
    saved = {"param_groups": [{"params": [0], "lr": 0.1, "weight_decay": 0.0} | numbers]}
    found = from_state_dict(saved | {"state": {0: dict.fromkeys(state, torch.ones(3))}})
    assert (found.name, found.rule) == ("", rule)
    assert found.reason.startswith(f"no threshold: {rule}: ")


def test_adam_for_sparse_gradients_is_named_and_not_taken_for_adam():
    parameter = torch.nn.Parameter(torch.ones(4, 3))
    rule = torch.optim.SparseAdam([parameter], lr=0.1)
    before = from_state_dict(rule.state_dict())
    parameter.grad = torch.ones(4, 3).to_sparse()
    rule.step()
    for found in (before, from_state_dict(rule.state_dict())):
        assert (found.name, found.rule) == ("", "sparseadam")


@pytest.mark.parametrize("value", [None, "0.1", float("nan"), -0.1])
@pytest.mark.parametrize(("name", "key"), [("momentum", "lr"), ("momentum", "momentum"), ("adam", "eps")])
def test_a_hyper_parameter_that_is_no_number_within_its_bounds_is_named(name, key, value):
    saved = state_of(OPTIMIZERS.load(name).build([parameter()], {"lr": 0.1}))
    saved["param_groups"][0][key] = value
    found = from_state_dict(saved)
    assert (found.name, found.rule) == ("", "")
    assert key in found.reason
    assert "--optimizer and --lr" in found.reason


@pytest.mark.parametrize("lr", [torch.tensor(0.25), torch.tensor([0.25]), 0.25])
@pytest.mark.parametrize("betas", [torch.tensor([0.5, 0.75]), [torch.tensor(0.5), 0.75], (0.5, 0.75)])
def test_hyper_parameters_kept_as_tensors_are_numbers(lr, betas):
    saved = state_of(torch.optim.Adam([parameter()], lr=0.1))
    saved["param_groups"][0] |= {"lr": lr, "betas": betas}
    found = from_state_dict(saved).hyper
    assert (found["lr"], found["betas"]) == (0.25, (0.5, 0.75))


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
    assert (found.name, found.rule) == ("sam" if name == "sam" else "", name)
    assert bool(found.reason) == (name != "sam")


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

"""Schedule-Free rules against a loop of their three sequences: thresholds, and where the gradient is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig
from trained_run import Trained

from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.recognise import from_state_dict

SGD, ADAMW = "schedulefree_sgd", "schedulefree_adamw"
GROUP = {"r": 0.0, "k": 3, "warmup_steps": 0, "train_mode": True, "weight_sum": 0.03, "lr_max": 0.1}
GROUP |= {"scheduled_lr": 0.1, "weight_lr_power": 2.0, "weight_decay": 0.0, "foreach": True, "lr": 0.1}


class ScheduleFree(torch.optim.Optimizer):
    """The three sequences as the paper has them, x and y kept beside z; with second moments where there are betas."""

    def __init__(self, parameters: Any, **hyper: Any) -> None:
        super().__init__(parameters, GROUP | {"k": 0, "weight_sum": 0.0, "lr_max": -1.0} | hyper)
        self.averages: dict[torch.Tensor, torch.Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            done = group["k"] = group["k"] + 1
            lr = group["lr"] * min(1, done / max(1, group["warmup_steps"]))
            group["lr_max"] = max(lr, group["lr_max"])
            weight = done ** group["r"] * group["lr_max"] ** group["weight_lr_power"]
            group["weight_sum"] += weight
            share = weight / group["weight_sum"]
            for p in group["params"]:
                state, update = self.state[p], p.grad
                z = state.setdefault("z", p.clone())
                x = self.averages.setdefault(p, p.clone())
                if "betas" in group:
                    beta, second = group["betas"]
                    v = state.setdefault("exp_avg_sq", torch.zeros_like(p))
                    v.lerp_(p.grad.square(), 1 - second)
                    update = p.grad / ((v / (1 - second**done)).sqrt() + group["eps"])
                else:
                    beta = group["momentum"]
                z.sub_(lr * (update + group["weight_decay"] * p))
                x.lerp_(z, share)
                p.copy_((1 - beta) * z + beta * x)

    @torch.no_grad()
    def eval(self) -> None:
        for group in self.param_groups:
            group["train_mode"] = False
            for p in group["params"]:
                p.copy_(self.averages[p])


def growth(beta: float, newest: float, rate: float, curvature: float, decay: float) -> float:
    """How much y has grown after some updates with an unchanging weight in the average."""
    x = z = y = 1.0
    for _ in range(6000):
        z -= rate * (curvature + decay) * y
        x += newest * (z - x)
        y = (1 - beta) * z + beta * x
        if abs(y) > 1e3:
            break
    return abs(y)


@pytest.mark.parametrize("name", [SGD, ADAMW])
@pytest.mark.parametrize("newest", [1.0, 0.3, 0.01, 1e-7])
@pytest.mark.parametrize(("beta", "decay"), [(0.9, 0.0), (0.5, 2.0), (0.98, 1.0)])
def test_half_a_percent_decides_whether_schedule_free_converges(
    name: str, newest: float, beta: float, decay: float
) -> None:
    inner = {"momentum": beta} if name == SGD else {"betas": (beta, 0.99)}
    hyper = {"lr": 0.1, "weight_decay": decay, "newest": newest, **inner}
    limit = OPTIMIZERS.load(name).stability_threshold(hyper)
    assert growth(beta, newest, 0.1, 0.995 * limit, decay) < 1e-2
    assert growth(beta, newest, 0.1, 1.005 * limit, decay) > 1e2


def test_the_threshold_rises_from_that_of_gradient_descent_as_the_average_grows_longer() -> None:
    rule = OPTIMIZERS.load(SGD)
    limits = [rule.stability_threshold({"lr": 0.1, "newest": 1 / t}) for t in (1, 10, 100, 10**9)]
    assert limits == sorted(limits)
    assert (limits[0], limits[-1]) == (pytest.approx(20), pytest.approx(200))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {"lr": 0.1, "newest": 1 / 4, "averaged": False}),
        ({"train_mode": False}, {"averaged": True}),
        ({"r": 2.0, "weight_sum": 0.14}, {"newest": 16 * 0.01 / 0.30}),
        ({"warmup_steps": 8, "lr_max": 0.04}, {"lr": 0.05, "newest": 0.0025 / 0.0325}),
        ({"lr": 0.02}, {"lr": 0.02, "newest": 1 / 4}),
        ({"lr": torch.tensor(0.5), "weight_lr_power": 0.0}, {"lr": 0.5, "newest": 1 / 1.03}),
        ({"lr": 0.0, "lr_max": 0.0, "weight_sum": 0.0}, {"lr": 0.0, "newest": 1.0}),
    ],
)
def test_the_weight_of_the_next_update_is_read_from_its_group(
    change: dict[str, Any], found: dict[str, Any]
) -> None:
    own = OPTIMIZERS.load(SGD).of_group(GROUP | {"momentum": 0.9} | change)
    assert {key: own[key] for key in found} == pytest.approx(found)


@pytest.mark.parametrize(
    ("change", "lacking", "rule"),
    [
        ({"momentum": 0.9}, "", SGD),
        ({"betas": (0.9, 0.99), "eps": 1e-8}, "", ADAMW),
        ({"momentum": 0.9}, "train_mode", "schedulefree"),
        ({"momentum": 0.9, "dampening": 0.0}, "", "schedulefree"),
        ({"betas": (0.9, 0.99), "eps": 1e-8, "silent_sgd_phase": True}, "", "schedulefree"),
    ],
)
def test_only_forms_whose_gradient_has_a_known_place_have_a_threshold(
    change: dict[str, Any], lacking: str, rule: str
) -> None:
    group = {key: value for key, value in GROUP.items() if key != lacking} | change | {"params": [0]}
    state = {0: {"z": torch.ones(2)} | ({"exp_avg_sq": torch.ones(2)} if "betas" in change else {})}
    found = from_state_dict({"param_groups": [group], "state": state})
    assert (found.name, found.rule) == ("", rule)


@pytest.mark.parametrize(
    "hyper",
    [
        {"lr": 0.5, "momentum": 0.9, "warmup_steps": 12},
        {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-8, "weight_decay": 0.1},
    ],
)
@pytest.mark.parametrize("averaged", [False, True])
def test_the_hessian_is_measured_where_gradients_are_taken_whichever_weights_were_saved(
    tmp_path: Path, opsig: Opsig, hyper: dict[str, Any], averaged: bool
) -> None:
    run, place = Trained(tmp_path, opsig), {}
    rules: list[ScheduleFree] = []

    def make(model: torch.nn.Module) -> list[ScheduleFree]:
        rules.append(ScheduleFree(model.parameters(), **hyper))
        return rules

    def schedule(step: int, _: Any) -> None:
        if step == 20:
            place.update(
                zip(("w", "b", "v", "c"), [p.detach().clone() for p in rules[0].averages], strict=True)
            )
            if averaged:
                rules[0].eval()

    run.train(make, schedule=schedule)
    point = run.sharpness()[-1]
    assert any("where gradients are taken" in note for note in run.warnings) == averaged
    quick = opsig("sharpness", "--store", tmp_path / "s.h5", "--quick", "--json")
    assert quick.code == 0, quick.err
    assert all(one["ratio"] is None for one in quick.json["result"]["critical_sharpness"])
    saved = run.saved(20)
    for key, value in zip(saved["model"], place.values(), strict=True):
        assert averaged != torch.equal(saved["model"][key], value)
        saved["model"][key] = value
    torch.save(saved, tmp_path / "ck/step20.pt")
    group, scale = saved["optimizer_0"]["param_groups"][0], lambda name: 1.0
    if "betas" in hyper:
        moments = [entry["exp_avg_sq"].double() for entry in saved["optimizer_0"]["state"].values()]
        roots = [(v / (1 - hyper["betas"][1] ** 20)).sqrt().reshape(-1) + 1e-8 for v in moments]
        inverse = dict(zip(saved["model"], [1 / root for root in roots], strict=True))
        scale = inverse.__getitem__
    beta, newest = hyper.get("momentum", 0.8), group["lr"] ** 2 / (group["weight_sum"] + group["lr"] ** 2)
    limit = (4 - 2 * newest) / ((1 - beta) * (2 - newest) + beta * newest) / hyper["lr"]
    limit -= hyper.get("weight_decay", 0.0)
    assert point["threshold"] == pytest.approx(limit, rel=1e-6)
    assert point["ratio"] == pytest.approx(run.scaled(20, scale) / limit, rel=1e-4)

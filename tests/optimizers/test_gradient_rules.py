"""Rules whose threshold or preconditioner depends on the gradient, and rules of timm, against real updates."""

from __future__ import annotations

import pytest
import torch

from opsigcli.optimizers import OPTIMIZERS

SLOPE = 3.0  # of the loss along the first coordinate: the norm of the gradient
START = 1e-9


def growth(step, rule, x: torch.nn.Parameter) -> float:
    """How much the second coordinate has grown after some updates."""
    for _ in range(4000):
        step(rule, x)
        if x[1].abs() > 1e3 * START:
            break
    return float(x.detach()[1].abs()) / START


@pytest.mark.slow
@pytest.mark.parametrize(
    "hyper",
    [
        {"lr": 0.1, "rho": 0.05},
        {"lr": 0.1, "rho": 2.0, "weight_decay": 0.5},
        {"lr": 0.1, "rho": 0.5, "momentum": 0.9},
        {"lr": 0.1, "rho": 0.5, "momentum": 0.9, "dampening": 0.4},
        {"lr": 0.1, "rho": 0.5, "momentum": 0.9, "nesterov": True},
    ],
)
@pytest.mark.parametrize("factor", [0.995, 1.005])
def test_sam_is_stable_up_to_its_edge(hyper: dict[str, float], factor: float) -> None:
    sam = OPTIMIZERS.load("sam")
    gradient = [torch.tensor([SLOPE, 0.0])]
    limit, low, high = sam.stability_threshold(hyper), 0.0, 1e6
    for _ in range(200):  # the curvature at which it is ``factor`` times the threshold
        middle = (low + high) / 2
        below = middle * sam.magnified(middle, gradient, hyper) < factor * limit
        low, high = (middle, high) if below else (low, middle)
    curvature, rho = low, hyper["rho"]

    def step(rule: torch.optim.Optimizer, x: torch.nn.Parameter) -> None:
        up = rho * curvature * float(x.detach()[1]) / SLOPE
        x.grad = torch.tensor([SLOPE, curvature * (float(x.detach()[1]) + up)], dtype=torch.float64)
        rule.step()

    x = torch.nn.Parameter(torch.tensor([0.0, START], dtype=torch.float64))
    base = {key: value for key, value in hyper.items() if key != "rho"}
    grown = growth(step, torch.optim.SGD([x], **base), x)
    assert (grown < 1e-2) if factor < 1 else (grown > 1e2)


def test_without_momentum_the_edge_is_that_of_the_paper() -> None:
    sam, hyper, norm = OPTIMIZERS.load("sam"), {"lr": 0.1, "rho": 0.5}, SLOPE
    edge = norm / (2 * 0.5) * ((1 + 8 * 0.5 / (0.1 * norm)) ** 0.5 - 1)
    magnified = edge * sam.magnified(edge, [torch.tensor([SLOPE])], hyper)
    assert magnified == pytest.approx(sam.stability_threshold(hyper))


def test_sam_does_not_magnify_negative_curvature() -> None:
    assert OPTIMIZERS.load("sam").magnified(-3.0, [torch.ones(2)], {"lr": 0.1, "rho": 0.5}) == 1


LARS = [
    {"lr": 1e-4, "trust_coeff": 1e-3, "weight_decay": 1e-3},
    {"lr": 1e-4, "trust_coeff": 1e-3, "momentum": 0.9, "always_adapt": True},
    {"lr": 1e-4, "trust_coeff": 1e-3, "momentum": 0.9, "dampening": 0.3, "weight_decay": 1e-3},
    {"lr": 1e-4, "trust_coeff": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    {"lr": 0.1, "trust_coeff": 1e-7, "momentum": 0.9, "weight_decay": 1e-3, "trust_clip": True},
    {"lr": 0.1, "momentum": 0.9},
]


@pytest.mark.slow
@pytest.mark.parametrize("hyper", LARS)
@pytest.mark.parametrize("factor", [0.995, 1.005])
def test_lars_is_stable_up_to_its_threshold(hyper: dict[str, float], factor: float) -> None:
    lars = OPTIMIZERS.load("lars")
    x = torch.nn.Parameter(torch.tensor([1e6, START], dtype=torch.float64))
    slope = torch.tensor([1e3, 0.0], dtype=torch.float64)
    weights = lars.tensor_preconditioner([x], [slope], hyper)
    assert weights.shape == (2,)
    curvature = factor * lars.stability_threshold(hyper) * float(weights[1]) - lars.shift(hyper)

    def step(rule: torch.optim.Optimizer, x: torch.nn.Parameter) -> None:
        x.grad = slope + torch.tensor([0.0, curvature * float(x.detach()[1])], dtype=torch.float64)
        rule.step()

    grown = growth(step, lars.build([x], hyper), x)
    assert (grown < 1e-2) if factor < 1 else (grown > 1e2)


def test_lars_has_no_trust_in_a_tensor_without_weights_or_gradient() -> None:
    lars, hyper = OPTIMIZERS.load("lars"), {"lr": 0.1, "weight_decay": 0.1}
    zero, one = torch.zeros(2), torch.ones(2)
    assert lars.tensor_preconditioner([zero, one], [one, zero], hyper).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("name", "kind", "hyper"),
    [
        *(("lars", "lars", hyper) for hyper in LARS),
        ("sgdw", "sgdw", {"lr": 0.1, "weight_decay": 0.2}),
        ("sgdw", "sgdw", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
        ("sgdw", "sgdw", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
        ("adamw", "adamw", {"lr": 0.1, "weight_decay": 0.2, "amsgrad": True}),
        ("rmsproptf", "rmsproptf", {"lr": 0.1, "weight_decay": 0.2}),
        ("rmsproptf", "rmsproptf", {"lr": 0.1, "momentum": 0.9, "centered": True, "eps": 1e-3}),
        ("rmsproptf", "rmsproptf", {"lr": 0.1, "momentum": 0.9, "lr_in_momentum": False}),
        ("rmsproptf", "rmsproptf", {"lr": 0.1, "weight_decay": 0.2, "decoupled_decay": True}),
    ],
)
def test_a_rule_of_timm_steps_as_timm_does(name: str, kind: str, hyper: dict[str, float]) -> None:
    timm = pytest.importorskip("timm.optim")
    own, theirs = ([torch.nn.Parameter(torch.linspace(-1, 2, 6).double().view(2, 3))] for _ in range(2))
    settled = OPTIMIZERS.load(name).settle(hyper)
    rules = OPTIMIZERS.load(name).build(own, hyper), timm.get_optimizer_class(kind)(theirs, **settled)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        own[0].grad = torch.randn(2, 3, generator=generator).double()
        theirs[0].grad = own[0].grad.clone()
        for rule in rules:
            rule.step()
        torch.testing.assert_close(own[0], theirs[0])
    found, expected = (rule.state_dict()["state"].get(0, {}) for rule in rules)
    assert {key: value for key, value in found.items() if value is not None}.keys() == {
        key for key, value in expected.items() if value is not None
    }

"""Textbook values of thresholds, preconditioners against real updates, and refused hyper-parameters."""

from __future__ import annotations

import pytest
import torch

from opsigcli.errors import CheckpointError, UsageError
from opsigcli.optimizers import OPTIMIZERS


def test_thresholds_have_their_textbook_values():
    rules = [OPTIMIZERS.load(name) for name in OPTIMIZERS]
    threshold = {rule.name: rule.stability_threshold({"lr": 0.1}) for rule in rules if rule.limit is not None}
    assert threshold["gd"] == pytest.approx(20)
    assert threshold["momentum"] == pytest.approx(38)
    assert threshold["dampened"] == pytest.approx(380)
    assert threshold["nesterov"] == pytest.approx(3.8 / 0.28)
    assert threshold["adam"] == pytest.approx(380)
    assert threshold["adamw"] == pytest.approx(380 * (1 - 0.1 * 0.01 / 2))
    assert threshold["rmsprop"] == pytest.approx(20)


def steps_of(name, hyper, count, seed=0, **torch_only):
    """Parameters before and after each of ``count`` real updates with random gradients, and the state."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.randn(s, generator=generator).double()) for s in ((3, 2), (4,))]
    rule = OPTIMIZERS.load(name).build(parameters, hyper)
    rule.param_groups[0].update(torch_only)
    for _ in range(count):
        before = torch.cat([p.detach().reshape(-1).clone() for p in parameters])
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        rule.step()
        yield before, parameters, rule.state_dict()["state"]


@pytest.mark.parametrize("torch_only", [{}, {"amsgrad": True}])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_each_adam_update_is_the_first_moment_over_the_preconditioner(name, torch_only):
    hyper = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    shapes = [(3, 2), (4,)]
    for before, parameters, state in steps_of(name, hyper, 5, **torch_only):
        weights = OPTIMIZERS.load(name).preconditioner(state, hyper, shapes)
        mean = torch.cat([state[i]["exp_avg"].reshape(-1) for i in range(2)])
        decay = 1 - hyper["lr"] * hyper["weight_decay"] if name == "adamw" else 1
        after = torch.cat([p.detach().reshape(-1) for p in parameters])
        torch.testing.assert_close(after, decay * before - hyper["lr"] * mean / weights)


@pytest.mark.parametrize("torch_only", [{}, {"centered": True}])
def test_each_rmsprop_update_is_the_gradient_over_the_preconditioner(torch_only):
    hyper = {"lr": 0.01, "alpha": 0.9, "eps": 1e-3}
    for before, parameters, state in steps_of("rmsprop", hyper, 5, **torch_only):
        weights = OPTIMIZERS.load("rmsprop").preconditioner(state, hyper)
        gradient = torch.cat([p.grad.reshape(-1) for p in parameters])
        after = torch.cat([p.detach().reshape(-1) for p in parameters])
        torch.testing.assert_close(after, before - hyper["lr"] * gradient / weights)


def test_state_saved_with_text_keys_keeps_the_order_of_the_parameters():
    entries = {str(i): {"exp_avg_sq": torch.full((1,), float(i)), "step": 1} for i in range(12)}
    shuffled = dict(sorted(entries.items()))  # "0", "1", "10", "11", "2" …
    weights = OPTIMIZERS.load("adam").preconditioner(shuffled, {"lr": 1, "betas": (0.0, 0.0), "eps": 0.0})
    torch.testing.assert_close(weights, torch.arange(12.0).sqrt())


def test_second_moments_of_other_shapes_are_refused():
    *_, (_, _, state) = steps_of("adam", {"lr": 0.1}, 1)
    with pytest.raises(CheckpointError, match="second moments"):
        OPTIMIZERS.load("adam").preconditioner(state, {"lr": 0.1}, [(2, 3), (4,)])


@pytest.mark.parametrize(
    ("name", "hyper", "words"),
    [
        ("gd", {}, "lr"),
        ("gd", {"lr": -1}, "lr"),
        ("gd", {"lr": float("inf")}, "lr"),
        ("gd", {"lr": 0.1, "momentum": 0.9}, "momentum"),
        ("momentum", {"lr": 0.1, "momentum": 1.0}, "below 1"),
        ("adam", {"lr": 0.1, "betas": (0.9, 1.5)}, "betas"),
        ("rmsprop", {"lr": 0.1, "alpha": 1.5}, "alpha"),
        ("adam", {"lr": "fast"}, "lr"),
    ],
)
def test_a_hyper_parameter_that_does_not_fit_is_refused(name, hyper, words):
    with pytest.raises(UsageError, match=words):
        OPTIMIZERS.load(name).build([torch.nn.Parameter(torch.ones(1))], hyper)

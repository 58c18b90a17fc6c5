"""Rules that look at the whole gradient or at its signs: their updates written out, and their edges on quadratics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from opsigcli.optimizers import OPTIMIZERS
from opsigcli.runs.gradients import further_up

torch.set_default_dtype(torch.float32)


def run(name: str, hyper: dict[str, Any], hessian: Tensor, start: Tensor, steps: int) -> list[Tensor]:
    """Weights along a run on ``½ xᵀHx``, the gradient taken where the rule takes it."""
    x = torch.nn.Parameter(start.double().clone())
    rule = OPTIMIZERS.load(name).build([x], hyper)
    found = [x.detach().clone()]
    for _ in range(steps):
        x.grad = hessian @ x.detach()
        with further_up(rule):
            gradient = hessian @ x.detach()
        x.grad = gradient
        rule.step()
        found.append(x.detach().clone())
    return found


def spread(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize(("factor", "grows"), [(0.99, False), (1.01, True)])
def test_sam_moves_away_from_the_minimum_beyond_its_edge_and_towards_it_within(
    factor: float, grows: bool
) -> None:
    sam, hyper, at = OPTIMIZERS.load("sam"), {"lr": 0.1, "rho": 0.3}, 2.0
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        seen = middle * sam.magnified(middle, [torch.tensor([middle * at])], hyper)
        low, high = (middle, high) if seen < factor * sam.stability_threshold(hyper) else (low, middle)
    _, after = run("sam", hyper, spread(low), torch.tensor([at]), 1)
    assert (float(after.abs()) > at) == grows
    assert float(after) == pytest.approx(-at, rel=0.03)


def test_sam_leaves_the_weights_where_they_were_to_the_bit() -> None:
    x = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    before = x.detach().clone()
    rule = OPTIMIZERS.load("sam").build([x], {"lr": 0.1, "rho": 0.37})
    x.grad = torch.linspace(-1, 1, 50)
    with further_up(rule) as moved:
        torch.testing.assert_close(x.detach() - before, 0.37 * x.grad / x.grad.norm(), rtol=1e-4, atol=1e-6)
    assert moved
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize(("factor", "grows"), [(0.99, False), (1.01, True)])
def test_normalised_descent_goes_up_beyond_twice_the_norm_over_the_learning_rate(
    factor: float, grows: bool
) -> None:
    ngd, hyper, slope = OPTIMIZERS.load("ngd"), {"lr": 0.2}, 3.0
    curvature = factor * ngd.stability_threshold(hyper) * slope  # 2‖g‖/η
    assert ngd.magnified(curvature, [torch.tensor([slope])], hyper) == pytest.approx(1 / slope)
    _, after = run("ngd", hyper, spread(curvature), torch.tensor([slope / curvature]), 1)
    assert (float(after.abs()) > slope / curvature) == grows


def test_normalised_descent_ends_going_to_and_fro_by_its_learning_rate() -> None:
    found = run("ngd", {"lr": 0.2}, spread(5.0), torch.tensor([7.3]), 100)
    assert float((found[-1] - found[-2]).abs()) == pytest.approx(0.2)
    assert float(found[-1].abs()) <= 0.2


@pytest.mark.parametrize("curvature", [1.0, 1e3, 1e6])
def test_no_curvature_makes_sign_descent_unstable(curvature: float) -> None:
    lr, beta = 0.01, 0.9
    found = run("signum", {"lr": lr, "momentum": beta}, spread(curvature), torch.tensor([0.5]), 600)
    late = torch.stack(found[300:]).abs().max()
    assert float(late) < 2 * lr / (1 - beta)
    same = run("signum", {"lr": lr, "momentum": beta}, spread(1.0), torch.tensor([0.5]), 600)
    assert all(torch.equal(a, b) for a, b in zip(found, same, strict=True))


def test_sign_descent_steps_by_the_sign_of_an_average_with_decoupled_decay() -> None:
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    rule = OPTIMIZERS.load("signum").build([x], {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2})
    expected, average = x.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for gradient in (torch.tensor([1.0, -1.0, 0.1]), torch.tensor([-3.0, 0.2, 0.1])):
        x.grad = gradient.double()
        rule.step()
        average = 0.5 * average + 0.5 * x.grad
        expected = (1 - 0.1 * 0.2) * expected - 0.1 * average.sign()
        torch.testing.assert_close(x.detach(), expected)


def test_the_split_rule_steps_along_small_coordinates_and_by_the_sign_of_large_ones() -> None:
    x = torch.nn.Parameter(torch.zeros(10, dtype=torch.float64))
    rule = OPTIMIZERS.load("split").build([x], {"lr": 0.1, "momentum": 0.5, "sign_lr": 0.01, "quantile": 0.8})
    x.grad = torch.tensor([1.0, -9, 2, -3, 4, 5, 8, 6, -7, 0.5], dtype=torch.float64)
    rule.step()
    large = x.grad.abs() >= 8  # the upper fifth
    expected = torch.where(large, -0.01 * x.grad.sign(), -0.1 * 0.5 * x.grad)
    torch.testing.assert_close(x.detach(), expected)
    weights = OPTIMIZERS.load("split").preconditioner(rule.state_dict()["state"], {"lr": 0.1})
    assert weights is not None
    assert torch.equal(weights == 1, ~large)


@pytest.mark.parametrize(("factor", "grows"), [(0.99, False), (1.01, True)])
def test_the_split_rule_is_held_against_the_curvature_of_coordinates_that_step_along_the_gradient(
    factor: float, grows: bool
) -> None:
    hyper = {"lr": 0.1, "momentum": 0.9, "sign_lr": 1e-4, "quantile": 0.8}
    split = OPTIMIZERS.load("split")
    limit = split.stability_threshold(hyper)
    assert limit == pytest.approx(380)
    # One coordinate of five is so far off, with so steep a slope, that it always goes by its sign.
    hessian = spread(1e5, factor * limit, 1.0, 1.0, 1.0)
    start = torch.tensor([1e3, 1e-6, 0.0, 0.0, 0.0])
    x = torch.nn.Parameter(start.double())
    rule = split.build([x], hyper)
    for _ in range(3000):
        x.grad = hessian @ x.detach()
        rule.step()
    weights = split.preconditioner(rule.state_dict()["state"], hyper)
    assert weights is not None
    root = weights.rsqrt()
    seen = float(torch.linalg.eigvalsh(root[:, None] * hessian * root).max())
    assert seen == pytest.approx(factor * limit, rel=1e-6)
    assert (float(x.detach()[1].abs()) > 1e-6) == grows

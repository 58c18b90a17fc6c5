"""Modules that keep something in eval mode, against the same modules that compute it each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.derivatives.batch_sharpness import batch_sharpness
from opsigcli.derivatives.check_hvp import _direction, check_second_derivatives
from opsigcli.derivatives.directional_loss import swing
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.per_example_curvature import directional_derivatives
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.objective.module_caches import clear_caches
from opsigcli.runs.load_weights import Loader


class Biased(nn.Module):
    """Adds biases made from a table; in eval mode they may be kept from one call to the next."""

    def __init__(self, keeps):
        super().__init__()
        self.table, self.norm = nn.Parameter(torch.randn(3)), nn.BatchNorm1d(5)
        self.keeps, self.kept = keeps, None

    def train(self, mode=True):
        self.kept = None if mode else self.kept
        return super().train(mode)

    def forward(self, x):
        made = self.table[torch.tensor([0, 2, 1, 0, 2])].tanh() if self.kept is None else self.kept
        if self.keeps and not self.training:
            self.kept = made
        return self.norm(x) + made


class Merged(nn.Module):
    """A linear layer and a product of low rank, which in eval mode is merged into the weight."""

    def __init__(self, merges):
        super().__init__()
        self.linear, self.a, self.b = (
            nn.Linear(5, 3),
            *(nn.Parameter(torch.randn(s)) for s in ((2, 5), (3, 2))),
        )
        self.merges, self.merged = merges, False

    def train(self, mode=True):
        if self.merges and mode == self.merged:
            self.linear.weight.data.add_(self.b.data @ self.a.data, alpha=-1.0 if mode else 1.0)
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        return self.linear(x) if self.merged else self.linear(x) + x @ self.a.T @ self.b.T


def net(keeps):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), Biased(keeps), nn.Tanh(), Merged(keeps))


def objective(keeps):
    found = Objective(net(keeps), Rows((4,)), "ce", batch_size=3, dtype=torch.float64)
    found.losses()  # without gradients: what is kept now has none
    return found


def vector(problem):
    size = sum(p.numel() for p in problem.parameters)
    return torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


MEASURED = {
    "gradient": lambda o: torch.cat([g.reshape(-1) for g in o.mean_loss_and_gradient()[1]]),
    "products, graphs kept": lambda o: hessian_operator(o)(vector(o)),
    "products, one graph kept": lambda o: twice(hessian_operator(o, graph_budget=3000), vector(o)),
    "products, no graph kept": lambda o: hessian_operator(o, graph_budget=0)(vector(o)),
    "Gauss-Newton": lambda o: GaussNewtonOperator(o)(vector(o)),
    "by example": lambda o: directional_derivatives(o, vector(o)).curvatures,
    "batch sharpness": lambda o: batch_sharpness(o, 4).mean,
    "sketches": lambda o: gradient_sketches(o, np.arange(7), dimensions=16).sketch,
    "swing": lambda o: swing(o, np.array([0, 1]), np.array([2]), np.arange(7)),
}


def twice(operator, v):
    first = operator(v)
    assert 0 < operator.kept_bytes <= 3000
    torch.testing.assert_close(operator(v), first)
    return first


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_does_not_depend_on_what_modules_keep(name):
    keeping, plain = objective(True), objective(False)
    found, expected = (np.asarray(MEASURED[name](o)) for o in (keeping, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(keeping.losses(), plain.losses(), rtol=1e-6)


@pytest.mark.parametrize("folds", [False, True])
def test_losses_are_those_of_the_weights_that_were_loaded(folds, monkeypatch):
    if folds:
        monkeypatch.setattr("opsigcli.objective.forms.WORTH_FOLDING", 0.0)
    problem = Objective(net(True), Rows((4,)), "ce", batch_size=3)
    evaluator = Evaluator(problem)
    evaluator.hold(np.arange(7))
    assert (evaluator.folded is not None) == folds
    loader = Loader(problem.model, partial=False)
    for seed in range(3):
        torch.manual_seed(seed)
        weights = net(False).state_dict()
        weights = {
            name: v + torch.rand(v.shape) if v.is_floating_point() else v for name, v in weights.items()
        }
        loader.load(weights, "here")
        plain = net(False).eval()
        plain.load_state_dict(weights)
        with torch.no_grad():
            inputs, targets = problem.batch(np.arange(7))
            expected = nn.functional.cross_entropy(plain(inputs), targets, reduction="none")
        np.testing.assert_allclose(evaluator.losses(), expected, rtol=1e-5)


def test_second_derivatives_are_checked_in_spite_of_what_is_kept(monkeypatch):
    problem = objective(True)
    problem.mean_loss_and_gradient()  # what is kept has a graph: it cannot be copied
    seen = []
    monkeypatch.setattr(
        "opsigcli.derivatives.check_hvp._direction", lambda *a: seen.append(a) or _direction(*a)
    )
    check_second_derivatives(problem)
    assert seen


def test_modes_stay_as_they_are():
    model = net(True).eval()
    model[1].norm.train()
    before = [module.training for module in model.modules()]
    clear_caches(model)
    assert [module.training for module in model.modules()] == before

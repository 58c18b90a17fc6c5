"""The span of a first layer's inputs against the Hessian on the inputs themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.input_subspace import ROWS, find_input_subspace
from opsigcli.objective.base import Objective


class Shared(nn.Module):
    """A penalty on the first layer's weights: their gradient leaves the span of the inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(20, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) * (1 + self.first.weight.square().sum())


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 3)

    def forward(self, x):
        return self.first(2 * x)


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3))


def objective(build=mlp, n=7, shape=(4, 5), **options):
    torch.manual_seed(0)
    return Objective(build(), Rows(shape, n), "ce", **{"dtype": torch.float64, "batch_size": 4, **options})


@pytest.mark.parametrize("batch_size", [3, 4, 7, 100])
@pytest.mark.parametrize("graph_budget", [0, 1 << 30], ids=["recomputed", "kept"])
def test_a_product_in_coordinates_is_the_product_on_the_weights(batch_size, graph_budget):
    problem = objective(batch_size=batch_size)
    short = hessian_operator(
        problem, subspace=find_input_subspace(problem, problem.counted), graph_budget=graph_budget
    )
    full = hessian_operator(problem)
    assert short.size == full.size - 8 * (20 - 7)
    rows = torch.randn(3, short.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wide = short.expand(rows)
    torch.testing.assert_close(wide @ wide.T, rows @ rows.T)
    products = torch.stack([short(row) for row in rows])
    torch.testing.assert_close(short.expand(products), torch.stack([full(row) for row in wide]))


def test_all_eigenvalues_but_zeros_are_the_same():
    problem = objective()
    short = hessian_operator(problem, subspace=find_input_subspace(problem, problem.counted))
    full = hessian_operator(problem)

    def eigenvalues(operator):
        rows = [operator(row) for row in torch.eye(operator.size, dtype=torch.float64)]
        return np.linalg.eigvalsh(torch.stack(rows).numpy())

    few, many = eigenvalues(short), eigenvalues(full)
    zeros = np.zeros(full.size - short.size)
    np.testing.assert_allclose(np.sort(np.r_[few, zeros]), many, atol=1e-12)


@pytest.mark.parametrize("chosen", [[0], [1], [2, 3], [0, 3]])
def test_blocks_are_those_of_the_weights(chosen):
    problem = objective()
    short = hessian_operator(problem, subspace=find_input_subspace(problem, problem.counted)).block(chosen)
    full = hessian_operator(problem).block(chosen)
    rows = torch.randn(2, short.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    products = short.expand(torch.stack([short(row) for row in rows]))
    torch.testing.assert_close(products, torch.stack([full(row) for row in short.expand(rows)]))


def test_the_span_follows_the_weights_that_are_loaded():
    problem = objective()
    span = find_input_subspace(problem, problem.counted)
    with torch.no_grad():
        for p in problem.parameters:
            p.mul_(1.5)
    short, full = hessian_operator(problem, subspace=span), hessian_operator(problem)
    row = torch.ones(1, short.size, dtype=torch.float64)
    torch.testing.assert_close(short.expand(short(row[0])[None])[0], full(short.expand(row)[0]))


def test_equal_examples_and_a_subset_give_the_same_top_eigenvectors_in_float32():
    problem = objective(n=12, dtype=torch.float32)
    problem.source.inputs[3] = problem.source.inputs[5]
    chosen = np.array([1, 3, 5, 6, 8, 11])
    span = find_input_subspace(problem, chosen)
    short = hessian_operator(problem, positions=chosen, subspace=span)
    full = hessian_operator(problem, positions=chosen)
    found, truth = (top_eigenvalues(o, o.size, 2, tolerance=1e-5) for o in (short, full))
    np.testing.assert_allclose(found.eigenvalues, truth.eigenvalues, rtol=1e-4)
    cosines = (short.expand(found.vectors) * truth.vectors).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(2), atol=1e-3, rtol=0)


def test_more_rows_than_one_block_of_the_triangle():
    n = ROWS + 5
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(n + 30, 16), nn.Tanh(), nn.Linear(16, 3))
    problem = Objective(net, Rows((n + 30,), n), "ce", dtype=torch.float64, batch_size=50)
    short = hessian_operator(problem, subspace=find_input_subspace(problem, problem.counted))
    row = torch.randn(1, short.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    product = hessian_operator(problem)(short.expand(row)[0])
    torch.testing.assert_close(short.expand(short(row[0])[None])[0], product)


@pytest.mark.parametrize(
    ("build", "n", "shape"),
    [
        (mlp, 20, (20,)),  # as many examples as inputs
        (Shared, 7, (20,)),  # the weights are used twice
        (Scaled, 7, (20,)),  # the layer reads other numbers than the examples
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 3)), 7, (2, 5, 5)),
    ],
)
def test_where_it_does_not_hold_or_pay_there_is_none(build, n, shape):
    problem = objective(build, n, shape)
    assert find_input_subspace(problem, problem.counted) is None


def test_frozen_weights_have_no_span():
    problem = objective()
    problem.model[1].weight.requires_grad_(False)
    assert find_input_subspace(problem, problem.counted) is None

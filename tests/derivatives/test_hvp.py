"""Hessian-vector products against the dense float64 Hessian of the mean loss."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from problems import (
    MODELS,
    OnlyOnce,
    Rows,
    columns,
    dense_hessian,
    objective,
)

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective


@pytest.mark.parametrize("graph_budget", [0, 1 << 30], ids=["recomputed", "kept"])
@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_the_dense_hessian(name, loss, graph_budget):
    problem = objective(name, loss)
    operator = hessian_operator(problem, graph_budget=graph_budget)
    torch.testing.assert_close(columns(operator), dense_hessian(problem), rtol=1e-9, atol=1e-11)
    assert (operator.kept_bytes > 0) == (graph_budget > 0)


@pytest.mark.parametrize("batch_size", [1, 3, 6, 7, 100])
def test_the_batch_size_does_not_change_the_hessian(batch_size):
    found = columns(hessian_operator(objective(batch_size=batch_size)))
    torch.testing.assert_close(found, dense_hessian(objective()), rtol=1e-9, atol=1e-11)


def test_graphs_are_kept_up_to_the_budget_and_recomputed_beyond_it():
    whole = hessian_operator(objective(batch_size=2))
    truth = columns(whole)
    part = hessian_operator(objective(batch_size=2), graph_budget=whole.kept_bytes // 2)
    torch.testing.assert_close(columns(part), truth)
    assert 0 < part.kept_bytes <= whole.kept_bytes // 2


def test_kept_graphs_are_freed_with_the_operator():
    operator = hessian_operator(objective())
    operator(torch.ones(operator.size, dtype=torch.float64))
    gone = [weakref.ref(gradient) for batch in operator._kept for gradient in batch]
    assert len(gone) == 8
    gc.disable()
    try:
        del operator
        assert all(reference() is None for reference in gone)
    finally:
        gc.enable()


def test_batch_norm_uses_its_running_statistics_and_keeps_them():
    problem = objective("batch norm")
    problem.model.train()
    before = {name: value.clone() for name, value in problem.model.named_buffers()}
    found = columns(hessian_operator(problem))
    torch.testing.assert_close(found, dense_hessian(problem))
    for name, value in problem.model.named_buffers():
        assert torch.equal(value, before[name])


def test_with_batch_statistics_the_hessian_is_that_of_a_model_in_training():
    problem, truth = (objective("batch norm", batch_size=7) for _ in range(2))
    truth.model[1].track_running_stats = False  # takes them from the batch in any mode
    truth.model[1].running_mean = truth.model[1].running_var = None
    problem.batch_statistics = True
    before = {name: value.clone() for name, value in problem.model.named_buffers()}
    torch.testing.assert_close(columns(hessian_operator(problem)), dense_hessian(truth))
    torch.testing.assert_close(problem.mean_loss_and_gradient(), truth.mean_loss_and_gradient())
    assert not torch.allclose(dense_hessian(problem), dense_hessian(truth))
    assert not problem.model[1].training
    for name, value in problem.model.named_buffers():
        assert torch.equal(value, before[name])


def test_frozen_parameters_are_left_out_and_tied_ones_counted_once():
    assert hessian_operator(objective("frozen")).size == 4 * 5 + 3
    assert hessian_operator(objective("tied")).size == 16 + 4 + 4 + 12 + 3


def test_a_preconditioned_operator_has_the_eigenvalues_of_the_inverse_times_the_shifted_hessian():
    problem = objective()
    hessian = dense_hessian(problem)
    weights = torch.rand(len(hessian), dtype=torch.float64) + 0.1
    operator = hessian_operator(problem).preconditioned(weights, shift=0.3)
    found = columns(operator)
    torch.testing.assert_close(found, found.T)
    product = (hessian + 0.3 * torch.eye(len(hessian))) / weights[:, None]
    truth = torch.linalg.eigvals(product).real.max()
    top = top_eigenvalues(operator, operator.size, 1, dtype=torch.float64)
    assert top.converged
    assert top.eigenvalues[0] == pytest.approx(float(truth), rel=1e-3)


@pytest.mark.parametrize("name", ["mlp", "batch norm", "tied", "attention"])
def test_float32_sharpness_agrees_with_the_dense_float64_one(name):
    truth = torch.linalg.eigvalsh(dense_hessian(objective(name))).flip(0)[:3].numpy()
    operator = hessian_operator(objective(name, dtype=torch.float32))
    found = top_eigenvalues(operator, operator.size, 3)
    assert found.converged, found.reason
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * truth[0])


def test_the_type_of_the_vector_is_kept():
    operator = hessian_operator(objective(dtype=torch.float32))
    assert operator(torch.ones(operator.size, dtype=torch.float64)).dtype == torch.float64


def test_the_model_has_no_gradients_afterwards():
    problem = objective()
    operator = hessian_operator(problem)
    operator(torch.ones(operator.size, dtype=torch.float64))
    assert all(p.grad is None for p in problem.parameters)


@pytest.mark.parametrize("graph_budget", [0, 1 << 30])
def test_an_operator_does_not_outlive_its_weights(graph_budget):
    problem = objective()
    operator = hessian_operator(problem, graph_budget=graph_budget)
    operator(torch.ones(operator.size, dtype=torch.float64))
    problem.load({name: 2 * value for name, value in problem.model.state_dict().items()})
    with pytest.raises(CurvatureError, match="weights"):
        operator(torch.ones(operator.size, dtype=torch.float64))


def test_a_model_without_second_derivatives_is_an_error_with_advice():
    torch.manual_seed(0)
    operator = hessian_operator(Objective(OnlyOnce(), Rows((4,)), "ce", batch_size=4))
    with pytest.raises(CurvatureError, match="differentiated twice") as caught:
        operator(torch.ones(operator.size))
    assert caught.value.hint


def test_nothing_trainable_is_an_error():
    problem = objective()
    problem.model.requires_grad_(False)
    with pytest.raises(CurvatureError, match="trainable"):
        hessian_operator(problem)


@pytest.mark.parametrize("bad", [torch.ones(5), torch.zeros(43), torch.full((43,), float("nan"))])
def test_a_preconditioner_that_does_not_fit_is_an_error(bad):
    with pytest.raises(CurvatureError, match="preconditioner"):
        hessian_operator(objective()).preconditioned(bad, shift=0.0)

"""Curvature by example, by layer, along minibatch gradients, and of the Gauss–Newton part, against dense matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from problems import MODELS, Rows, columns, dense_hessian, objective
from torch import nn

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.datasets import open_source
from opsigcli.derivatives.batch_sharpness import batch_sharpness
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.layers import kinds, layers
from opsigcli.derivatives.per_example_curvature import directional_derivatives
from opsigcli.objective.base import Objective
from opsigcli.runs.build_objective import build_objective


@pytest.mark.parametrize("name", MODELS)
def test_slope_and_curvature_of_an_example_are_those_of_its_own_hessian(name):
    problem = objective(name)
    direction = torch.randn(sum(p.numel() for p in problem.parameters), dtype=torch.float64)
    found = directional_derivatives(problem, direction)
    for i in range(problem.n):
        single = hessian_operator(problem, positions=np.array([i]))
        _, gradient = problem.mean_loss_and_gradient(np.array([i]))
        slope = torch.cat([g.reshape(-1) for g in gradient]) @ direction
        assert found.slopes[i] == pytest.approx(float(slope), rel=1e-5, abs=1e-6)
        assert found.curvatures[i] == pytest.approx(float(direction @ single(direction)), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["mlp", "batch norm", "transformer"])
def test_the_mean_curvature_of_the_examples_is_the_top_eigenvalue(name):
    problem = objective(name)
    operator = hessian_operator(problem)
    top = top_eigenvalues(operator, operator.size, 1, dtype=torch.float64)
    found = directional_derivatives(problem, top.vectors[0])
    assert found.curvatures.mean(dtype=float) == pytest.approx(top.eigenvalues[0], rel=1e-6)


@pytest.mark.parametrize("processes", [2, 9])
def test_processes_together_look_at_every_example(processes, monkeypatch):
    problem = objective()
    direction = torch.ones(sum(p.numel() for p in problem.parameters), dtype=torch.float64)
    whole = directional_derivatives(problem, direction)
    monkeypatch.setattr(DataParallel, "all_reduce", lambda _, total: total)
    group = [DataParallel(rank, processes) for rank in range(processes)]
    parts = [directional_derivatives(problem, direction, parallel=parallel) for parallel in group]
    np.testing.assert_allclose(sum(p.curvatures for p in parts), whole.curvatures, rtol=1e-6)
    np.testing.assert_allclose(sum(p.slopes for p in parts), whole.slopes, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_batch_sharpness_is_the_mean_over_batches(size):
    problem = objective(batch_size=2)
    found = batch_sharpness(problem, size, seed=1)
    hessians = [columns(hessian_operator(problem, positions=np.array([i]))) for i in range(7)]
    gradients = [
        torch.cat([g.reshape(-1) for g in problem.mean_loss_and_gradient(np.array([i]))[1]]) for i in range(7)
    ]
    exact = []
    for batch in itertools.combinations(range(7), size):
        gradient = sum(gradients[i] for i in batch) / size
        hessian = sum(hessians[i] for i in batch) / size
        exact.append(float(gradient @ hessian @ gradient / (gradient @ gradient)))
    assert min(exact) - 1e-9 <= found.mean <= max(exact) + 1e-9
    assert abs(found.mean - np.mean(exact)) < 4 * found.error + 1e-9
    assert found.error == pytest.approx(np.std(exact) / np.sqrt(found.batches), rel=0.5)


def test_batch_sharpness_of_the_full_batch_is_one_number_without_error():
    problem = objective()
    found = batch_sharpness(problem, 7)
    gradient = torch.cat([g.reshape(-1) for g in problem.mean_loss_and_gradient()[1]])
    exact = gradient @ dense_hessian(problem) @ gradient / (gradient @ gradient)
    assert found.mean == pytest.approx(float(exact))
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.batches == 16


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("name", ["mlp", "linear", "batch norm", "frozen", "tied", "transformer"])
def test_gauss_newton_products_are_those_of_the_dense_matrix(name, loss):
    problem = objective(name, loss)
    inputs, targets = problem.batch(np.arange(problem.n))
    dense = 0
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for x, y in zip(inputs, targets, strict=True):
            z = problem.model(x[None])
            rows = [
                torch.autograd.grad(out, problem.parameters, retain_graph=True, allow_unused=True)
                for out in z[0]
            ]
            jacobian = torch.stack(
                [
                    torch.cat(
                        [
                            (torch.zeros_like(p) if g is None else g).reshape(-1)
                            for g, p in zip(row, problem.parameters, strict=True)
                        ]
                    )
                    for row in rows
                ]
            )
            curved = torch.autograd.functional.hessian(
                lambda out, y=y: problem.loss_fn(out[None], y[None])[0], z[0].detach()
            )
            dense = dense + jacobian.T @ curved @ jacobian / problem.n
    torch.testing.assert_close(columns(GaussNewtonOperator(problem)), dense, rtol=1e-9, atol=1e-11)


def test_a_linear_model_has_no_curvature_beyond_gauss_newton():
    problem = objective("linear")
    torch.testing.assert_close(
        columns(GaussNewtonOperator(problem)), dense_hessian(problem), rtol=1e-9, atol=1e-11
    )


class Former(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.tokens = nn.Embedding(9, 4)
        self.encoder = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.stem = nn.Conv1d(5, 5, 1)
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head((self.encoder(self.stem(x + self.pos_embed)) * self.scale).mean(1))


def test_layers_have_kinds_and_hold_every_parameter_once():
    problem = Objective(Former().double(), Rows((5, 4)), "ce", dtype=torch.float64)
    found = layers(problem)
    kind = {layer.name: layer.kind for layer in found}
    assert kind == {
        "": "other",
        "pos_embed": "embedding",
        "tokens": "embedding",
        "encoder.self_attn": "attention",
        "encoder.self_attn.out_proj": "attention",
        "encoder.linear1": "mlp",
        "encoder.linear2": "mlp",
        "encoder.norm1": "norm",
        "encoder.norm2": "norm",
        "stem": "convolution",
        "head": "mlp",
    }
    for some in (found, kinds(found)):
        assert sorted(place for layer in some for place in layer.places) == list(
            range(len(problem.parameters))
        )
    assert {layer.name for layer in kinds(found)} == {
        "other",
        "embedding",
        "attention",
        "mlp",
        "norm",
        "convolution",
    }


@pytest.mark.parametrize(
    ("model", "data", "loss", "projections"),
    [
        ("vit?patch=4&width=8&blocks=1", "noise?n=8&shape=3,8,8", "ce", {"blocks.0.qkv", "blocks.0.out"}),
        ("gpt?layers=1&width=8&heads=2", "babble?context=8", "lm", {"blocks.0.qkv", "blocks.0.mix"}),
    ],
)
def test_projections_of_the_built_in_transformers_are_attention_and_their_positions_embedding(
    model, data, loss, projections
):
    problem = build_objective(model, open_source(data), loss, device="cpu", batch_size=8)
    kind = {layer.name: layer.kind for layer in layers(problem)}
    assert {name for name, found in kind.items() if found == "attention"} == projections
    assert "other" not in kind.values()
    assert {"mlp", "norm", "embedding"} <= set(kind.values())


def test_a_shared_weight_belongs_to_its_first_layer():
    problem = objective("tied")
    assert [(layer.name, len(layer.places)) for layer in layers(problem)] == [
        ("first", 2),
        ("second", 1),
        ("last", 2),
    ]

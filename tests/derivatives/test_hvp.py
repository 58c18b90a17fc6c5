"""Hessian-vector products against the dense float64 Hessian of the mean loss."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective


class Rows:
    """Seven random examples: with batches of four, the last one is short."""

    def __init__(self, shape, n=7):
        generator = np.random.default_rng(1)
        self.spec, self.fingerprint, self.transform = "rows", "", {}
        self.classes, self.names, self.known_pairs = ("a", "b", "c"), (), ()
        self.input_shape = shape
        self.ids = np.arange(n)
        self.labels = self.targets = generator.integers(0, 3, n)
        self.inputs = generator.normal(size=(n, *shape)).astype(np.float32)

    def __len__(self):
        return len(self.ids)

    def read(self, positions):
        return self.inputs[positions]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.outside = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = (part[:, None] for part in self.inside(x).chunk(3, dim=-1))
        return self.outside(F.scaled_dot_product_attention(q, k, v)[:, 0].mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.outside = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.outside(self.inside(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Once(torch.autograd.Function):
    """A square that can be differentiated only once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


class OnlyOnce(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return Once.apply(self.linear(x))


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def batch_norm():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3)
    )
    net[1].running_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
    net[1].running_var.copy_(torch.tensor([0.5, 1.5, 2.0]))
    return net


def frozen():
    net = mlp()
    net[0].bias.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    return net


def unused():
    net = mlp()
    net.register_parameter("spare", nn.Parameter(torch.ones(2)))
    return net


MODELS = {
    "mlp": (mlp, (4,)),
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "batch norm": (batch_norm, (2, 5, 5)),
    "frozen": (frozen, (4,)),
    "tied": (Tied, (4,)),
    "unused parameter": (unused, (4,)),
    "attention": (Attention, (5, 4)),
    "recurrent": (Recurrent, (5, 4)),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Flatten(), nn.Linear(8, 3)
        ),
        (2, 4),
    ),
}


def objective(name="mlp", loss="ce", dtype=torch.float64, **options):
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return Objective(build(), Rows(shape), loss, dtype=dtype, **{"batch_size": 4, **options})


def dense_hessian(problem):
    """The Hessian of the mean loss over all rows at once, by another route: torch.autograd.functional."""
    names = problem.parameter_names
    inputs, targets = problem.batch(np.arange(problem.n))
    shapes = [p.shape for p in problem.parameters]

    def mean_loss(flat):
        parts = [
            part.view(s) for part, s in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
        ]
        outputs = functional_call(problem.model, dict(zip(names, parts, strict=True)), (inputs.clone(),))
        return problem.loss_fn(outputs, targets).mean()

    flat = torch.cat([p.detach().reshape(-1) for p in problem.parameters])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.hessian(mean_loss, flat)


def columns(operator, dtype=torch.float64):
    return torch.stack([operator(row) for row in torch.eye(operator.size, dtype=dtype)], dim=1)


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
    operator = hessian_operator(problem, preconditioner=weights, shift=0.3)
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
        hessian_operator(objective(), preconditioner=bad)

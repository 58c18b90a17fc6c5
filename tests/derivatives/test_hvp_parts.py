"""Cheaper operators, blocks, shares of the data and the check of second derivatives, against plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import MODELS, Rows, columns, dense_hessian, objective
from torch import nn

from opsigcli.derivatives import fast_conv_bn
from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.fast_conv_bn import cheap_derivatives
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective

CONVOLUTIONS = {
    "plain": (F.conv2d, (2, 4, 6, 7), (3, 4, 3, 3), {}),
    "with bias": (F.conv2d, (2, 4, 6, 7), (3, 4, 3, 3), {"bias": 3}),
    "stride and padding": (F.conv2d, (2, 4, 7, 6), (3, 4, 3, 2), {"stride": (2, 1), "padding": 1}),
    "dilation": (F.conv2d, (2, 4, 9, 9), (3, 4, 3, 3), {"dilation": 2, "padding": (2, 1)}),
    "groups": (F.conv2d, (2, 4, 6, 6), (6, 2, 3, 3), {"groups": 2, "stride": 2}),
    "depthwise": (F.conv2d, (2, 4, 6, 6), (4, 1, 3, 3), {"groups": 4, "bias": 4}),
    "same": (F.conv2d, (2, 4, 6, 6), (3, 4, 3, 3), {"padding": "same"}),
    "without a batch": (F.conv2d, (4, 6, 6), (3, 4, 3, 3), {}),
    "one dimension": (F.conv1d, (2, 3, 9), (4, 3, 3), {"stride": 2, "bias": 4}),
    "three dimensions": (F.conv3d, (1, 2, 4, 4, 5), (2, 2, 2, 3, 2), {"padding": 1}),
}


def derivatives(function, *tensors):
    """Value, gradients, and products of the second and third derivatives with fixed directions."""
    generator = torch.Generator().manual_seed(3)
    directions = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in tensors]
    value = function(*tensors)
    found, scalar = [value], value.tanh().sum()
    for _ in range(3):
        parts = torch.autograd.grad(scalar, tensors, create_graph=True)
        found += parts
        scalar = sum((part * v).sum() for part, v in zip(parts, directions, strict=True))
    return [part.detach() for part in found]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_cheap_convolution_has_the_values_and_derivatives_of_the_plain_one(name):
    function, shape, kernel, options = CONVOLUTIONS[name]
    options = dict(options)
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True)

    tensors = [random(*shape), random(*kernel)]
    if "bias" in options:
        tensors.append(random(options.pop("bias")))
    plain = derivatives(lambda *t: function(*t, **options), *tensors)
    with cheap_derivatives():
        cheap = derivatives(lambda *t: function(*t, **options), *tensors)
    torch.testing.assert_close(cheap, plain, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 4, 4)])
def test_a_cheap_batch_norm_in_eval_mode_has_those_of_the_plain_one(shape, affine):
    generator = torch.Generator().manual_seed(1)
    mean, variance = torch.randn(3, generator=generator).double(), torch.rand(3, generator=generator).double()
    tensors = [torch.randn(shape, generator=generator).double().requires_grad_()]
    if affine:
        tensors += [torch.randn(3, generator=generator).double().requires_grad_() for _ in range(2)]

    def norm(x, *weights):
        return F.batch_norm(x, mean, variance, *weights)

    plain = derivatives(norm, *tensors)
    with cheap_derivatives():
        torch.testing.assert_close(derivatives(norm, *tensors), plain, rtol=1e-10, atol=1e-11)


def conv(x, w, b):
    return F.conv2d(x, w, b, stride=2, padding=1)


def written_before(x, w, b, norm):
    """The convolution's input changes in place between it and its norm."""
    x = x * 1
    y = conv(x, w, b)
    x.add_(1)
    return norm(y) + x.mean()


def used_twice(x, w, b, norm):
    y = conv(x, w, b)
    return norm(y) + y + norm(y)


def another_between(x, w, b, norm):
    y = conv(x, w, b)
    other = conv(x, w, None)
    return norm(y) * other


FOLDED = {
    "with a bias": lambda x, w, b, norm: norm(conv(x, w, b)),
    "without": lambda x, w, b, norm: norm(conv(x, w, None)) + b.sum(),
    "output used twice": used_twice,
    "another convolution between": another_between,
    "output written": lambda x, w, b, norm: norm(conv(x, w, b).mul_(2)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_batch_norm_that_goes_into_a_convolution_has_the_derivatives_of_both(name):
    generator = torch.Generator().manual_seed(2)
    mean, variance = torch.randn(3, generator=generator).double(), torch.rand(3, generator=generator).double()
    shapes = [(2, 4, 6, 7), (3, 4, 3, 2), (3,), (3,), (3,)]
    tensors = [torch.randn(shape, generator=generator).double().requires_grad_() for shape in shapes]

    def function(x, w, b, *affine):
        return FOLDED[name](x, w, b, lambda y: F.batch_norm(y, mean, variance, *affine))

    plain = derivatives(function, *tensors)
    with cheap_derivatives():
        torch.testing.assert_close(derivatives(function, *tensors), plain, rtol=1e-10, atol=1e-11)


def test_a_convolution_whose_input_was_written_before_its_norm_is_refused_as_by_autograd():
    x, w, b = torch.randn(2, 4, 6, 7), torch.randn(3, 4, 3, 2, requires_grad=True), torch.zeros(3)
    with cheap_derivatives():
        value = written_before(x, w, b, lambda y: F.batch_norm(y, torch.zeros(3), torch.ones(3)))
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.grad(value.sum(), w)


def test_a_batch_norm_in_train_mode_is_left_alone():
    x = torch.randn(5, 3)
    with cheap_derivatives():
        torch.testing.assert_close(
            F.batch_norm(x, None, None, training=True), F.batch_norm(x, None, None, training=True)
        )
        kept = torch.zeros(3)
        F.batch_norm(x, kept, torch.ones(3), training=True)
    assert kept.abs().sum() > 0


@pytest.mark.parametrize("graph_budget", [0, 1 << 30], ids=["recomputed", "kept"])
@pytest.mark.parametrize("name", ["mlp", "batch norm", "tied", "unused parameter"])
def test_a_block_is_that_of_the_dense_hessian(name, graph_budget):
    problem = objective(name)
    hessian = dense_hessian(problem)
    sizes = [p.numel() for p in problem.parameters]
    places = torch.arange(sum(sizes)).split(sizes)
    whole = hessian_operator(problem, graph_budget=graph_budget)
    for chosen in ([0], [len(sizes) - 1], [0, len(sizes) - 1]):
        where = torch.cat([places[i] for i in chosen])
        torch.testing.assert_close(
            columns(whole.block(chosen)), hessian[where][:, where], rtol=1e-9, atol=1e-11
        )


def test_a_block_of_a_deep_network_is_right_and_leaves_out_the_other_layers_products(monkeypatch):
    net = nn.Sequential(
        *(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh(), nn.GroupNorm(1, 2), nn.Conv2d(2, 2, 3, padding=1)),
        *(nn.Tanh(), nn.Conv2d(2, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3)),
    )
    problem = Objective(net, Rows((2, 5, 5)), "ce", dtype=torch.float64, batch_size=7)
    whole = hessian_operator(problem)
    full = columns(whole)
    done = []
    for name in ("_to_input", "_to_weight"):
        walk = getattr(fast_conv_bn, name)
        monkeypatch.setattr(fast_conv_bn, name, lambda *given, walk=walk: (done.append(1), walk(*given))[1])
    sizes = [p.numel() for p in problem.parameters]
    places = torch.arange(sum(sizes)).split(sizes)
    cost = {}
    for chosen in (range(len(sizes)), [0, 1], [2, 3], [8]):
        where = torch.cat([places[i] for i in chosen])
        block = whole.block(chosen)
        torch.testing.assert_close(columns(block), full[where][:, where], rtol=1e-9, atol=1e-11)
        done.clear()
        block(torch.ones(block.size, dtype=torch.float64))
        cost[len(chosen), chosen[0]] = len(done)
    # A norm asks for no convolution's weights, and the last layer for no convolution at all.
    assert cost[2, 2] < cost[2, 0] < cost[len(sizes), 0]
    assert cost[1, 8] == 0


def test_a_hessian_over_some_examples_is_that_of_those_alone():
    chosen = np.array([0, 3, 4, 5, 6])
    part = columns(hessian_operator(objective(), positions=chosen))
    single = [columns(hessian_operator(objective(), positions=np.array([i]))) for i in chosen]
    torch.testing.assert_close(part, torch.stack(single).mean(0))


@pytest.mark.parametrize("processes", [2, 3, 10])
def test_the_shares_of_all_processes_add_up_to_the_whole(processes, monkeypatch):
    monkeypatch.setattr(DataParallel, "all_reduce", lambda _, total: total)
    parts = [
        columns(hessian_operator(objective(), parallel=DataParallel(rank, processes)))
        for rank in range(processes)
    ]
    torch.testing.assert_close(sum(parts), dense_hessian(objective()), rtol=1e-9, atol=1e-11)


class Detached(torch.autograd.Function):
    """A square whose backward hides that its factor depends on x."""

    @staticmethod
    def forward(ctx, x):
        ctx.factor = 2 * x.detach()
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return Detached.apply(self.linear(x))


def test_a_backward_that_detaches_is_refused():
    torch.manual_seed(0)
    problem = Objective(Hidden(), Rows((4,)), "ce", batch_size=4)
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    with pytest.raises(CurvatureError, match="second derivatives are wrong") as caught:
        check_second_derivatives(problem)
    assert "detaches" in caught.value.hint
    for name, value in problem.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("name", MODELS)
def test_right_second_derivatives_pass_the_check(name, loss):
    check_second_derivatives(objective(name, loss, dtype=torch.float32))


def test_a_network_of_kinks_passes_the_check():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 2000), nn.ReLU(), nn.Linear(2000, 500), nn.ReLU(), nn.Linear(500, 3))
    check_second_derivatives(Objective(net, Rows((4,)), "ce", batch_size=4))


class Zigzag(nn.Module):
    """A kink in each millionth, so that steps of 1e-6 of the weights always find some."""

    def forward(self, x):
        return x * x + ((1e6 * x).remainder(2) - 1).abs() / 1e6


def test_kinks_as_close_as_those_of_large_networks_pass_the_check():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), Zigzag(), nn.Linear(5, 3))
    check_second_derivatives(Objective(net, Rows((4,)), "ce", batch_size=4))


class Words(nn.Module):
    """A language model's habits: padding that is no weight, tied embeddings, parts in float32 whatever comes in."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner = nn.Embedding(3, 4, padding_idx=1), nn.Linear(4, 4)

    def forward(self, x):
        h = self.embedding((x > 0).long().sum(1) % 3)
        h = h * torch.rsqrt(h.float().square().mean(-1, keepdim=True) + 1e-6).to(h.dtype)
        return torch.tanh(self.inner(h)) @ self.embedding.weight.T


def test_a_language_model_passes_the_check():
    torch.manual_seed(0)
    check_second_derivatives(Objective(Words(), Rows((4,)), "ce", batch_size=4))

"""Small problems whose derivatives are known exactly: models, seven rows of data, and their dense float64 Hessian."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from opsigcli.examples import ExampleSource
from opsigcli.objective.base import Objective


class Rows(ExampleSource):
    """Seven random examples: with batches of four, the last one is short."""

    def __init__(self, shape, n=7):
        generator = np.random.default_rng(1)
        self.spec, self.fingerprint, self.transform = "rows", "", {}
        self.classes = ("a", "b", "c")
        self.input_shape = shape
        self.ids = np.arange(n)
        self.labels = generator.integers(0, 3, n)
        self.inputs = generator.normal(size=(n, *shape)).astype(np.float32)

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

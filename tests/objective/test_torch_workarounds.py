"""Functions in place of torch's: the same values, and derivatives by differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from problems import Rows, columns
from torch import nn

from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.objective.base import Objective
from opsigcli.objective.torch_workarounds import Workarounds

FUNCTIONS = {
    "hardsigmoid": F.hardsigmoid,
    "hardsigmoid in place": lambda x: F.hardsigmoid(x.clone(), inplace=True),
    "normalize": F.normalize,
    "normalize, all": lambda x: F.normalize(x, dim=(0, 1), eps=1e-3),
    "normalize, another norm": lambda x: F.normalize(x, p=3),
    "normalize, small": lambda x: F.normalize(x / 1e9, eps=1.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_torchs_and_derivatives_those_of_the_function(name):
    generator = torch.Generator().manual_seed(0)
    x = (4 * torch.randn(3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    plain = FUNCTIONS[name](x)
    with Workarounds():
        torch.testing.assert_close(FUNCTIONS[name](x), plain, rtol=1e-14, atol=1e-16)
        assert torch.autograd.gradcheck(FUNCTIONS[name], x)
        assert torch.autograd.gradgradcheck(FUNCTIONS[name], x)


def test_what_is_done_in_place_is_seen():
    x = torch.linspace(-5, 5, 7)
    expected = F.hardsigmoid(x)
    with Workarounds():
        F.hardsigmoid(x, inplace=True)
    torch.testing.assert_close(x, expected)


class Normalised(nn.Module):
    """Directions of what comes in, as in attention by cosines; rows of zeros are padding."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4, bias=False), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(F.normalize(self.first(x), dim=1))


def test_a_padded_example_has_finite_second_derivatives():
    torch.manual_seed(0)
    rows = Rows((4,))
    rows.inputs[2] = 0
    hessian = columns(hessian_operator(Objective(Normalised(), rows, "ce", dtype=torch.float64)))
    assert bool(hessian.isfinite().all())
    torch.testing.assert_close(hessian, hessian.T)


def test_hard_activations_can_be_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Hardsigmoid(inplace=True), nn.Linear(5, 3), nn.Hardswish())
    problem = Objective(model, Rows((4,)), "ce", dtype=torch.float64)
    operator = hessian_operator(problem)
    found = columns(operator)
    step, inputs = 1e-6, problem.parameters[0]
    rows = []
    for sign in (1, -1):
        with torch.no_grad():
            inputs[0, 0] += sign * step
        rows.append(torch.cat([g.reshape(-1) for g in problem.mean_loss_and_gradient()[1]]))
        with torch.no_grad():
            inputs[0, 0] -= sign * step
    torch.testing.assert_close(found[0], (rows[0] - rows[1]) / (2 * step), rtol=1e-5, atol=1e-7)


NORMS = {
    "batch norm": lambda: nn.BatchNorm2d(3),
    "instance norm": lambda: nn.InstanceNorm2d(3, affine=True),
    "instance norm, running": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("n", [1, 3])
def test_gradients_of_a_norm_are_right_where_pixels_become_tokens(name, n):
    """Where torch (2.15, on a CPU) takes what came back for one example as if it had not been transposed."""
    torch.manual_seed(0)
    norm = NORMS[name]().double().eval()
    for value in (*norm.parameters(), *norm.buffers()):
        if value.is_floating_point():
            value.data.uniform_(0.5, 2)
    x = torch.randn(n, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    mixing = torch.randn(3, 3, dtype=torch.float64)

    def tokens(x):
        return norm(x).flatten(2).transpose(1, 2) @ mixing

    plain = tokens(x)
    with Workarounds():
        torch.testing.assert_close(tokens(x), plain)
        assert torch.autograd.gradcheck(tokens, x)
        assert torch.autograd.gradgradcheck(tokens, x)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.inner, self.last = nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.inner(self.norm(self.stem(x)).flatten(2).transpose(1, 2))).mean(1))


def test_the_gradient_does_not_depend_on_a_last_batch_of_one():
    torch.manual_seed(0)
    model, rows = Tokens(), Rows((2, 5, 5))
    found = [
        torch.cat(
            [g.reshape(-1) for g in Objective(model, rows, "ce", batch_size=b).mean_loss_and_gradient()[1]]
        )
        for b in (3, 7)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)

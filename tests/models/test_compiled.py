"""Compiled models and their checkpoints, weight norm, and bodies that no gradient reaches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from problems import Rows, columns, dense_hessian
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import weight_norm as hooked_weight_norm

from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.models.compiled import uncompiled, was_compiled
from opsigcli.models.weights import fit_weights
from opsigcli.objective.base import Objective


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def whole() -> nn.Module:
    return torch.compile(plain(), backend="aot_eager")


def in_place() -> nn.Module:
    model = plain()
    model.compile(backend="aot_eager")
    return model


def a_part() -> nn.Module:
    model = plain()
    model[0] = torch.compile(model[0], backend="aot_eager")
    return model


@pytest.mark.parametrize("make", [whole, in_place, a_part])
def test_of_a_compiled_model_the_module_inside_is_used(make) -> None:
    model = uncompiled(make())
    assert was_compiled(model)
    assert list(model.state_dict()) == list(plain().state_dict())
    problem = Objective(model, Rows((4,)), "ce", dtype=torch.float64, batch_size=4)
    truth = Objective(plain(), Rows((4,)), "ce", dtype=torch.float64, batch_size=4)
    torch.testing.assert_close(columns(hessian_operator(problem)), dense_hessian(truth))


def test_what_was_not_compiled_stays_as_it_is() -> None:
    model = plain()
    assert uncompiled(model) is model
    assert not was_compiled(model)


@pytest.mark.parametrize("make", [whole, a_part])
def test_the_names_of_a_compiled_models_checkpoint_fit_the_plain_one(make) -> None:
    model = plain()
    for p in model.parameters():
        nn.init.zeros_(p)
    note = fit_weights(model, make().state_dict(), where="here")
    assert "_orig_mod." in note
    for found, expected in zip(model.parameters(), plain().parameters(), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("norm", [parametrizations.weight_norm, hooked_weight_norm])
def test_second_derivatives_through_weight_norm_are_right(norm, dim) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(4, 5), dim=dim), nn.Tanh(), norm(nn.Linear(5, 3), dim=dim))
    problem = Objective(model, Rows((4,)), "ce", dtype=torch.float64, batch_size=4)
    check_second_derivatives(problem)
    found = columns(hessian_operator(problem))
    torch.testing.assert_close(found, by_differences(problem), rtol=1e-5, atol=1e-7)


def by_differences(problem: Objective, step: float = 1e-5) -> Tensor:
    """The Hessian from differences of gradients, whose own formula is right."""
    rows = []
    for p in problem.parameters:
        for place in range(p.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    p.view(-1)[place] += sign * step
                _, gradient = problem.mean_loss_and_gradient()
                ends.append(torch.cat([g.reshape(-1) for g in gradient]))
                with torch.no_grad():
                    p.view(-1)[place] -= sign * step
            rows.append((ends[0] - ends[1]) / (2 * step))
    return torch.stack(rows)


class Body(nn.Module):
    """A body under no_grad, whose parameters ask for gradients all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.head = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            seen = torch.tanh(self.body(x))
        return self.head(seen)


def test_a_body_under_no_grad_is_not_taken_for_wrong_second_derivatives() -> None:
    torch.manual_seed(0)
    problem = Objective(Body(), Rows((4,)), "ce", dtype=torch.float64, batch_size=4)
    check_second_derivatives(problem)
    found, held = columns(hessian_operator(problem)), sum(p.numel() for p in problem.model.body.parameters())
    assert not found[:held].any()
    inputs, targets = problem.batch(problem.counted)
    head = problem.model.head
    seen = torch.tanh(problem.model.body(inputs)).detach()

    def loss(flat: Tensor) -> Tensor:
        parts = dict(head.named_parameters())
        sizes = [p.numel() for p in parts.values()]
        given = {n: c.view_as(p) for (n, p), c in zip(parts.items(), flat.split(sizes), strict=True)}
        return F.cross_entropy(torch.func.functional_call(head, given, (seen,)), targets)

    flat = torch.cat([p.detach().reshape(-1) for p in head.parameters()])
    torch.testing.assert_close(found[held:, held:], torch.autograd.functional.hessian(loss, flat))

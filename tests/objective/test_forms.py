"""Faster forms of a model are taken only where they give the losses of the plain one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from problems import Rows
from torch import Tensor, nn

from opsigcli.objective import forms
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (2.0, 2.0 * (1 + 2e-6), True),
        (2.0, 2.0 * (1 + 5e-5), False),
        (300.0, 300.0 + 1e-3, True),  # large losses are rounded more coarsely …
        (1e-6, 3e-6, True),  # … and small ones are differences of large outputs
        (1e-3, 2e-3, False),
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (math.nan, 2.0, False),
        (2.0, math.nan, False),
        (2.0, math.inf, False),
        (math.inf, 2.0, False),
    ],
)
def test_two_forms_agree_up_to_rounding_and_where_neither_loss_is_finite(
    first: float, second: float, same: bool
) -> None:
    beside = torch.ones(3)
    losses = (torch.cat([beside, torch.tensor([value])]) for value in (first, second))
    assert forms.agree(*losses) is same


def net(mean: float, variance: float) -> nn.Module:
    """A linear layer and its norm, whose outputs lie around ``mean``."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, eps=0), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].bias.fill_(mean)
        model[1].running_mean.fill_(mean)
        model[1].running_var.fill_(variance)
    return model


def evaluated(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> tuple[Evaluator, np.ndarray, int]:
    """The evaluator, its losses, and how many batches went through the folded model."""
    monkeypatch.setattr(forms, "WORTH_FOLDING", 0.0)
    evaluator = Evaluator(Objective(model, Rows((4,)), "ce"))
    evaluator.hold(np.arange(7))
    assert evaluator.folded is not None
    batches = []
    evaluator.folded.module.register_forward_hook(lambda *_: batches.append(1))
    return evaluator, evaluator.losses(), len(batches)


def test_a_folded_norm_is_used_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, losses, batches = evaluated(net(0.3, 0.5), monkeypatch)
    assert batches == 2  # once for the comparison
    np.testing.assert_allclose(losses, evaluator.objective.losses(), rtol=1e-5)


def test_a_folded_norm_that_rounds_worse_than_the_plain_one_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # (y − 100) / 0.1 takes the difference first; folded, two numbers of a thousand nearly cancel.
    evaluator, losses, batches = evaluated(net(100.0, 0.01), monkeypatch)
    assert batches == 1
    np.testing.assert_array_equal(losses, evaluator.objective.losses())


class LaidOut(nn.Module):
    """A convolution whose outputs tell how its input lies in memory, by ``size``."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.conv, self.size = nn.Conv2d(3, 4, 3), size

    def forward(self, x: Tensor) -> Tensor:
        turned = x.is_contiguous(memory_format=torch.channels_last)
        return self.conv(x).mean((2, 3)) * (1 + self.size * turned)


@pytest.mark.parametrize(("size", "turned"), [(0.0, True), (1e-3, False)])
def test_weights_stay_as_they_are_where_channels_last_changes_losses(size: float, turned: bool) -> None:
    torch.manual_seed(0)
    objective = Objective(LaidOut(size), Rows((3, 6, 6)), "ce")
    assert forms.put_channels_last(objective) is turned
    assert objective.model.conv.weight.is_contiguous(memory_format=torch.channels_last) is turned

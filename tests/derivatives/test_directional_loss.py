"""Loss swings along a pair's direction, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from opsigcli.datasets.planted import Planted
from opsigcli.derivatives.directional_loss import swing
from opsigcli.objective.base import Objective


def small_objective() -> Objective:
    torch.manual_seed(0)
    source = Planted("vec3", 200)
    return Objective(nn.Linear(64, 4), source, "ce", dtype=torch.float64)


def test_swings_are_losses_at_two_points_and_the_weights_come_back() -> None:
    objective = small_objective()
    before = [p.detach().clone() for p in objective.parameters]
    a, b, watched = np.arange(5), np.arange(5, 12), np.arange(50)
    found = swing(objective, a, b, watched)
    assert all(torch.equal(p, q) for p, q in zip(before, objective.parameters, strict=True))
    direction = [
        x - y
        for x, y in zip(
            objective.mean_loss_and_gradient(a)[1], objective.mean_loss_and_gradient(b)[1], strict=True
        )
    ]
    scale = 1.0 / float(sum(d.square().sum() for d in direction))
    sides = []
    for sign in (1, -1):
        moved = [w + sign * scale * d for w, d in zip(before, direction, strict=True)]
        outputs = torch.nn.functional.linear(objective.batch(watched)[0], moved[0], moved[1])
        targets = objective.batch(watched)[1]
        sides.append(nn.functional.cross_entropy(outputs, targets, reduction="none").numpy())
    np.testing.assert_allclose(found, sides[0] - sides[1], rtol=1e-5, atol=1e-6)


def test_to_first_order_the_two_groups_part_by_twice_a_nat() -> None:
    objective = small_objective()
    a, b = np.arange(5), np.arange(5, 12)
    found = swing(objective, a, b, np.arange(12))
    assert found[a].mean() - found[b].mean() == pytest.approx(2.0, rel=0.35)


def test_equal_groups_have_no_direction() -> None:
    objective = small_objective()
    assert not swing(objective, np.arange(5), np.arange(5), np.arange(20)).any()

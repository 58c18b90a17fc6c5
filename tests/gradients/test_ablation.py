"""What arms of the causal comparison go on without: the mined groups, and other sets as large."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.gradients.ablation import DRAWS, controls, random_controls
from opsigcli.objective.base import Objective
from opsigcli.result_records import RANDOM

MEMBERS = np.array([0, 1, 2, 10, 11, 12, 13])
N = 60
FEW = np.array([0] * 20 + [1] * 5)
Sets = list[tuple[str, np.ndarray]]


@pytest.fixture
def objective() -> Objective:
    source = Rows((4,), n=N)
    source.labels = source.targets = np.arange(N) % 3
    torch.manual_seed(0)
    return Objective(nn.Linear(4, 3), source, "ce")


LOSSES = np.random.default_rng(0).random((2, N))


@pytest.fixture
def sets(objective: Objective) -> Sets:
    trace = SimpleNamespace(labels=objective.source.labels, losses=LOSSES)
    run = SimpleNamespace(objective=objective, batch_norm=None, load=lambda row: None)
    return controls(run, trace, 1, MEMBERS, [0, 0])


def test_nothing_is_taken_away_at_first_then_the_groups_and_then_as_many_others(sets: Sets) -> None:
    assert len(sets[0][1]) == 0
    assert sets[1][1].tolist() == MEMBERS.tolist()
    assert {len(np.unique(removed)) for _, removed in sets[1:]} == {len(MEMBERS)}
    assert [name for name, _ in sets].count(RANDOM) == DRAWS


def test_controls_of_the_same_classes_have_no_member_and_the_same_labels(sets: Sets) -> None:
    draws = [removed for name, removed in sets if name == RANDOM]
    assert len({tuple(drawn) for drawn in draws}) == DRAWS
    for drawn in draws:
        assert not np.isin(drawn, MEMBERS).any()
        assert sorted(drawn % 3) == sorted(MEMBERS % 3)


def test_the_control_of_high_loss_has_the_largest_losses_at_the_fork(sets: Sets) -> None:
    expected = np.argsort(-LOSSES[1])[: len(MEMBERS)]
    assert dict(sets)["examples of high loss"].tolist() == sorted(expected)


def test_the_control_of_large_gradient_has_the_largest_gradients(sets: Sets, objective: Objective) -> None:
    norms = [
        float(torch.cat([g.reshape(-1) for g in objective.mean_loss_and_gradient(np.array([i]))[1]]).norm())
        for i in range(N)
    ]
    expected = np.argsort(-np.array(norms))[: len(MEMBERS)]
    assert dict(sets)["examples of large gradient"].tolist() == sorted(expected)


def test_the_control_of_high_curvature_curves_most_along_the_sharpest_direction(
    sets: Sets, objective: Objective
) -> None:
    size = sum(p.numel() for p in objective.parameters)
    matvec = hessian_operator(objective)
    dense = torch.stack([matvec(row) for row in torch.eye(size)]).double()
    direction = torch.linalg.eigh((dense + dense.T) / 2)[1][:, -1]
    inputs, targets = objective.batch(np.arange(N))
    weights = nn.utils.parameters_to_vector(objective.parameters).detach()

    def along(x: torch.Tensor) -> torch.Tensor:
        moved = weights.double() + x * direction
        outputs = inputs.double() @ moved[:12].view(3, 4).T + moved[12:]
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    step = 1e-3
    curvature = (
        along(torch.tensor(step)) - 2 * along(torch.tensor(0.0)) + along(torch.tensor(-step))
    ) / step**2
    expected = np.argsort(-curvature.numpy())[: len(MEMBERS)]
    assert dict(sets)["examples of high curvature"].tolist() == sorted(expected)


def test_a_control_is_as_large_as_the_groups_where_a_class_has_too_few_others() -> None:
    members = np.array([3, 20, 21, 22, 23])
    for control in random_controls(FEW, members, [0]):
        assert sorted(FEW[control]) == [0, 1, 1, 1, 1]
        assert 24 in control  # the only other
        assert len(np.intersect1d(control, members)) == 3
        assert control.tolist() == sorted(control.tolist())


def test_controls_are_as_large_as_the_groups_whatever_classes_and_members_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, rng.integers(1, 8), rng.integers(20, 200))
        members = np.sort(rng.permutation(len(labels))[: rng.integers(1, len(labels))])
        for control in random_controls(labels, members, [int(rng.integers(100))]):
            assert len(np.unique(control)) == len(members)
            assert (
                np.bincount(labels[control], minlength=8).tolist()
                == np.bincount(labels[members], minlength=8).tolist()
            )

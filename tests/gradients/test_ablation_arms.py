"""What the causal comparison takes away: the mined groups, and other sets as large that are what they are called."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.gradients import ablation
from opsigcli.objective.base import Objective
from opsigcli.progress import NoProgress

MEMBERS = np.array([0, 1, 2, 10, 11, 12, 13])
N = 60


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, np.ndarray], Objective, np.ndarray]:
    """Positions that each arm goes on without; nothing is trained. The objective, and losses of two checkpoints."""
    source = Rows((4,), n=N)
    source.labels = source.targets = np.arange(N) % 3
    torch.manual_seed(0)
    objective = Objective(nn.Linear(4, 3), source, "ce")
    losses = np.random.default_rng(0).random((2, N))
    trace = SimpleNamespace(
        labels=source.labels, losses=losses, steps=np.array([0, 10]), positions=np.asarray
    )
    run = SimpleNamespace(
        objective=objective, source=source, load=lambda row: None, run=SimpleNamespace(batch_size=None)
    )
    pair = SimpleNamespace(first=SimpleNamespace(ids=MEMBERS[:3]), second=SimpleNamespace(ids=MEMBERS[3:]))
    removed: list[np.ndarray] = []
    monkeypatch.setattr(
        ablation,
        "_arm",
        lambda run, tuning, start, positions, test: removed.append(positions) or np.ones(5),
    )
    mined, tuning = (
        SimpleNamespace(counted=[pair]),
        SimpleNamespace(parameters=objective.parameter_names, parts=()),
    )
    found = ablation.compare_causes(mined, run, tuning, 1, trace, 0, NoProgress(), None)
    assert found is not None
    named = {arm["removed"]: positions for arm, positions in zip(found["arms"], removed, strict=True)}
    assert [arm["examples"] for arm in found["arms"]] == [len(positions) for positions in removed]
    return named, objective, losses


Arms = tuple[dict[str, np.ndarray], Objective, np.ndarray]


def test_the_mined_groups_are_taken_away_whole_and_at_first_nothing(arms: Arms) -> None:
    assert arms[0]["the mined groups"].tolist() == MEMBERS.tolist()
    assert len(arms[0]["nothing"]) == 0


def test_the_control_of_the_same_classes_has_no_member_and_the_same_labels(arms: Arms) -> None:
    control = arms[0]["random examples of the same classes"]
    assert not np.isin(control, MEMBERS).any()
    assert len(np.unique(control)) == len(MEMBERS)
    assert sorted(control % 3) == sorted(MEMBERS % 3)


def test_the_control_of_high_loss_has_the_largest_losses_at_the_start(arms: Arms) -> None:
    named, _, losses = arms
    expected = np.argsort(-losses[1])[: len(MEMBERS)]
    assert named["examples of high loss"].tolist() == sorted(expected)


def test_the_control_of_large_gradient_has_the_largest_gradients(arms: Arms) -> None:
    named, objective, _ = arms
    norms = [
        float(torch.cat([g.reshape(-1) for g in objective.mean_loss_and_gradient(np.array([i]))[1]]).norm())
        for i in range(N)
    ]
    assert named["examples of large gradient"].tolist() == sorted(
        np.argsort(-np.array(norms))[: len(MEMBERS)]
    )

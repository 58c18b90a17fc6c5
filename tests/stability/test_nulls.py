"""What a group's curvature is held against: as many examples with the same labels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.objective.base import Objective
from opsigcli.sharpness_records import GroupCurvature
from opsigcli.stability.curvature_attribution import CurvatureAttribution


def by_label(curvatures: np.ndarray, *groups: list[int]) -> tuple[GroupCurvature, ...]:
    """Groups of 60 examples, of which all with one label are equal, along the gradient of label 0."""
    source = Rows((3,), n=60)
    source.labels = source.targets = np.arange(60) % 2
    source.inputs = np.eye(3, dtype=np.float32)[source.labels]
    torch.manual_seed(0)
    objective = Objective(nn.Linear(3, 3, bias=False), source, "ce")
    _, parts = objective.mean_loss_and_gradient(np.array([0]))
    top = torch.cat([part.reshape(-1) for part in parts])
    locator = CurvatureAttribution(
        SimpleNamespace(objective=objective, source=source), np.arange(60), DataParallel(), seed=0
    )
    sides = [SimpleNamespace(ids=np.array(ids)) for ids in groups]
    found = SimpleNamespace(pairs=[SimpleNamespace(first=sides[0], second=sides[1])])
    return locator.groups(found, SimpleNamespace(vectors=(top / top.norm())[None]), curvatures)


def test_the_alignment_of_a_group_that_is_like_its_classes_equals_its_null() -> None:
    like_first, like_second = by_label(np.ones(60, dtype=np.float32), [0, 2, 4, 6, 8], [1, 3, 5])
    assert like_first.alignment.value == pytest.approx(1)
    assert like_first.alignment.null == pytest.approx(1)
    assert like_second.alignment.value == pytest.approx(0, abs=1e-6)
    assert like_second.alignment.null == pytest.approx(0, abs=1e-6)


def test_the_share_of_a_group_that_is_like_its_classes_equals_its_null() -> None:
    curvatures = np.where(np.arange(60) % 2 == 0, 1.0, 3.0).astype(np.float32)
    for group in by_label(curvatures, [0, 2, 4, 1], [7, 9, 11]):
        assert group.share.null == pytest.approx(group.share.value)


def test_the_share_of_a_group_that_is_sharper_than_its_classes_exceeds_its_null() -> None:
    curvatures = np.ones(60, dtype=np.float32)
    curvatures[:6] = 10
    sharp, usual = by_label(curvatures, [0, 2, 4], [21, 23, 25])
    assert sharp.share.value > 3 * sharp.share.null
    assert usual.share.value <= usual.share.null

"""What mined groups hold of the top eigenvalue, against class-matched random groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.mining_records import (
    Evidence,
    Group,
    GroupKey,
    Mining,
    Pair,
)
from opsigcli.stability.curvature_attribution import ALIGNMENT_DRAWS, CurvatureAttribution

LABELS = np.arange(60) % 2
FIRST, SECOND = np.array([0, 2, 4]), np.array([1, 3])
MEMBERS = {0, 1, 2, 3, 4}


def mined() -> Mining:
    pair = Pair(Group(FIRST + 100), Group(SECOND + 100), Evidence(0.5), {}, "opposing outliers")
    return Mining("full", (pair,), (), (), (), 60)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of every group whose alignment is asked for."""
    groups: list[list[int]] = []

    def alignment(_: CurvatureAttribution, members: np.ndarray, __: Spectrum) -> tuple[float, float]:
        groups.append(members.tolist())
        return float(len(MEMBERS & set(members.tolist()))), 0.0

    monkeypatch.setattr(CurvatureAttribution, "_alignment", alignment)
    return groups


def located(positions: np.ndarray, curvatures: np.ndarray) -> tuple[Any, ...]:
    run = cast(Any, SimpleNamespace(source=SimpleNamespace(ids=np.arange(60) + 100, labels=LABELS)))
    locator = CurvatureAttribution(run, positions, DataParallel(0, 1), seed=0)
    return locator.groups(mined(), cast(Spectrum, None), curvatures.astype(np.float32))


def test_members_of_pairs_are_in_no_null_of_share_or_alignment(looked_at: list[list[int]]) -> None:
    curvatures = np.full(60, 0.1)
    curvatures[list(MEMBERS)] = 10
    first, second = located(np.arange(60), curvatures)
    total = 5 * 10 + 55 * 0.1
    assert (first.name, second.name) == (GroupKey(1, "first"), GroupKey(1, "second"))
    assert first.share.value == pytest.approx(30 / total)
    assert first.share.null == pytest.approx(3 * 0.1 / total)  # class means would count the members
    assert second.share.null == pytest.approx(2 * 0.1 / total)
    assert (first.alignment.value, first.alignment.null) == (3, 0)
    assert len(looked_at) == 2 * (1 + ALIGNMENT_DRAWS)
    for rows in looked_at[1 : 1 + ALIGNMENT_DRAWS]:
        assert LABELS[rows].tolist() == [0, 0, 0]


def test_groups_are_looked_for_among_the_examples_measured(looked_at: list[list[int]]) -> None:
    (second,) = located(np.array([1, 3, 5, 7, 9, 20, 22]), np.arange(7.0))
    assert second.name == GroupKey(1, "second")
    assert second.fraction == pytest.approx(2 / 7)
    assert looked_at[0] == [0, 1]

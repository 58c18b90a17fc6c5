"""Curvature along a pair's direction: where it is measured, what it is held against, and what is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from opsigcli.errors import CheckpointError
from opsigcli.gradients import pair_curvature
from opsigcli.gradients.pair_curvature import PairCurvature
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.mining.inputs import compute_now
from opsigcli.records import LossTrace
from opsigcli.sharpness_records import SharpnessPoint

LABELS = np.arange(40) % 2
STEPS = np.arange(6) * 10
FIRST, SECOND = np.array([0, 2, 4]), np.array([1, 3])
MEMBERS = np.array([0, 1, 2, 3, 4, 6, 8])  # of another pair, too


class Keeps:
    """What pair curvature asks of sketches."""

    def __init__(self, *, opened: bool) -> None:
        self.rows, self.options, self.kept = [2, 4], SimpleNamespace(seed=0), dict[str, np.ndarray]()
        self.loaded: list[int] = []
        self.run = SimpleNamespace(load=self.loaded.append, path=lambda _: Path()) if opened else None

    @property
    def opened(self) -> Any:
        if self.run is None:
            raise CheckpointError("expected a folder of checkpoints, found nothing", "check the path")
        return self.run

    pieces = staticmethod(compute_now)
    once, knows = Sketches.once, Sketches.knows


def probe(keeps: Keeps, *points: SharpnessPoint) -> PairCurvature:
    trace = LossTrace(STEPS, np.arange(40), LABELS, np.zeros((6, 40)), np.ones(6, dtype=bool))
    return PairCurvature(cast(Any, keeps), points, trace)


def point(step: int, top: float, *, converged: bool = True) -> SharpnessPoint:
    return SharpnessPoint(step, (top,), (0.0,), converged, 10, None, None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[int], set[int]]]:
    """The groups between which curvature is measured; 6 for the pair, 1 for others."""
    pairs: list[tuple[set[int], set[int]]] = []

    def along(_: object, first: np.ndarray, second: np.ndarray, mode: str | None) -> float:
        pairs.append((set(first.tolist()), set(second.tolist())))
        return 6.0 if 0 in pairs[-1][0] else 1.0

    monkeypatch.setattr(pair_curvature, "along", along)
    return pairs


def test_it_is_held_against_three_class_matched_pairs_without_members_of_any_pair(
    measured: list[tuple[set[int], set[int]]],
) -> None:
    keeps = Keeps(opened=True)
    found = probe(keeps, point(20, 4.0))((FIRST, SECOND), MEMBERS)
    assert found is not None
    assert (found.value, found.null) == (1.5, 0.25)
    assert len(measured) == 4
    for first, second in measured[1:]:
        assert not (first | second) & set(MEMBERS.tolist())
        assert (LABELS[list(first)] == 0).all()
        assert (LABELS[list(second)] == 1).all()
        assert (len(first), len(second)) == (3, 2)


def test_it_is_measured_at_the_converged_point_nearest_to_a_compared_checkpoint(
    measured: list[tuple[set[int], set[int]]],
) -> None:
    keeps = Keeps(opened=True)
    points = point(0, 2.0), point(20, 3.0, converged=False), point(30, 2.0), point(40, -1.0)
    assert probe(keeps, *points)((FIRST, SECOND), MEMBERS) is not None
    assert keeps.loaded == [3]
    assert probe(keeps)((FIRST, SECOND), MEMBERS) is None
    assert probe(keeps, point(25, 2.0))((FIRST, SECOND), MEMBERS) is None  # no checkpoint of the trace


def test_what_was_measured_is_kept_and_where_the_model_is_gone_there_is_no_more(
    measured: list[tuple[set[int], set[int]]],
) -> None:
    keeps = Keeps(opened=True)
    found = probe(keeps, point(20, 4.0))((FIRST, SECOND), MEMBERS)
    keeps.run = None
    assert probe(keeps, point(20, 4.0))((FIRST, SECOND), MEMBERS) == found
    assert len(measured) == 4
    assert probe(keeps, point(20, 4.0))((SECOND, FIRST), MEMBERS) is None


def test_results_are_kept_by_the_names_that_stores_have_for_them(
    measured: list[tuple[set[int], set[int]]],
) -> None:
    keeps = Keeps(opened=True)
    probe(keeps, point(20, 4.0))((FIRST, SECOND), MEMBERS)
    whole = b"|".join((b"20", b"0", FIRST.tobytes(), SECOND.tobytes()))
    assert list(keeps.kept) == [f"curvature-{hashlib.sha256(whole).hexdigest()[:24]}"]

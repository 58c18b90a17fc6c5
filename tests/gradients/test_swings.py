"""Swings along pairs' directions: which checkpoints are looked at, and how few examples tell the members' share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from opsigcli.datasets.planted import Planted
from opsigcli.derivatives.directional_loss import swing
from opsigcli.gradients.swings import OTHERS, PairSwings, looked_at
from opsigcli.mining.fixed_point import swing_held
from opsigcli.objective.base import Objective
from opsigcli.progress import SILENT

FIRST, SECOND = np.arange(0, 20), np.arange(20, 45)


class Sketched(SimpleNamespace):
    """As much of ``Sketches`` as swings need; ``watched`` says how many examples were asked for."""

    def __init__(self, count: int) -> None:
        torch.manual_seed(1)
        objective = Objective(nn.Linear(64, 4), Planted("vec3", count), "ce", dtype=torch.float64)
        opened = SimpleNamespace(load=lambda row: None, objective=objective)
        super().__init__(
            rows=[3, 8], kept={}, new=False, options=SimpleNamespace(seed=0), opened=opened, progress=SILENT
        )

    def pieces(self, word: str, of: tuple[bytes, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
        return compute()


@pytest.mark.parametrize(
    ("compared", "expected"), [(8, [1, 4, 6]), (5, [0, 2, 4]), (3, [0, 1, 2]), (2, [0, 1]), (1, [0])]
)
def test_the_middles_of_three_parts_of_the_run_are_looked_at(compared: int, expected: list[int]) -> None:
    assert looked_at(compared) == expected


def test_swings_of_few_examples_are_those_of_all() -> None:
    sketches = Sketched(OTHERS)
    watched = np.arange(OTHERS)
    rows = list(PairSwings(sketches)(FIRST, SECOND, watched))
    assert len(rows) == 2
    np.testing.assert_array_equal(rows[0], swing(sketches.opened.objective, FIRST, SECOND, watched))


def test_of_many_examples_a_draw_tells_the_members_share() -> None:
    sketches = Sketched(4000)
    watched = np.arange(4000)
    (found, _) = PairSwings(sketches)(FIRST, SECOND, watched)
    whole = swing(sketches.opened.objective, FIRST, SECOND, watched)
    members = np.concatenate([FIRST, SECOND])
    np.testing.assert_allclose(found[members], whole[members], rtol=1e-5)
    assert np.count_nonzero(found) == len(members) + OTHERS
    held = [swing_held(values[None], (FIRST, SECOND))[0] for values in (found, whole)]
    assert held[0] == pytest.approx(held[1], abs=0.1)


def test_what_is_kept_is_not_measured_again() -> None:
    sketches = Sketched(200)
    first = list(PairSwings(sketches)(FIRST, SECOND, np.arange(200)))
    sketches.opened.load = None
    again = list(PairSwings(sketches)(FIRST, SECOND, np.arange(200)))
    np.testing.assert_array_equal(first, again)
    with pytest.raises(TypeError):
        next(PairSwings(sketches)(SECOND, FIRST, np.arange(200)))

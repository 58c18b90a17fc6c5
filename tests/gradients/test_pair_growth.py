"""What descent predicts of a swing is said where descent is what was done, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from opsigcli.gradients import fork, pair_growth
from opsigcli.gradients.pair_growth import PairGrowth
from opsigcli.runs.tuning import Clip, Part, Tuning

RATE, CURVATURE = 0.5, 9.0
SIDES = np.arange(3), np.arange(3, 6)


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is predicted of three steps, with a rule of these hyper-parameters."""

    def make(
        hyper: dict[str, float] | None = None, batch: int | None = None, norm: str = "", **tuned: Any
    ) -> Any:
        tuning = Tuning((Part("", "sgd", SimpleNamespace(), {"lr": RATE, **(hyper or {})}, ("w",)),), **tuned)
        opened = SimpleNamespace(
            load=lambda row: None,
            run=SimpleNamespace(batch_size=batch),
            objective=SimpleNamespace(n=100),
        )
        sketches = SimpleNamespace(
            store=SimpleNamespace(file={"steps": np.arange(10)}, run=SimpleNamespace(batch_norm=norm)),
            options=SimpleNamespace(batch_norm=None),
            knows=lambda *of: True,
            once=lambda name, of, measure: measure(),
            opened=opened,
        )
        monkeypatch.setattr(fork, "fork", lambda run, row: tuning)
        monkeypatch.setattr(pair_growth, "along", lambda run, *sides: CURVATURE)
        return PairGrowth(sketches)(SIDES, [2, 3, 4])

    return make


def test_a_displacement_grows_by_one_less_rate_times_curvature(predicted: Any) -> None:
    assert predicted().tolist() == [abs(1 - RATE * CURVATURE)] * 3
    assert predicted(batch=100).tolist() == predicted().tolist()


@pytest.mark.parametrize(
    "other",
    [
        {"hyper": {"momentum": 0.9}},
        {"hyper": {"weight_decay": 0.01}},
        {"batch": 10},
        {"norm": "batch"},  # whose statistics the pair's direction knows nothing of
        {"norm": "re-estimate"},
        {"clip": Clip(0.1, whole=True)},  # a gradient that is scaled down takes a shorter step
    ],
)
def test_nothing_is_predicted_of_steps_that_are_no_plain_descent(
    predicted: Any, other: dict[str, Any]
) -> None:
    assert predicted(**other) is None

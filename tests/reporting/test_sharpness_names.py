"""What is held against the threshold is called by what it is, in its units."""

from __future__ import annotations

import pytest

from opsigcli.reporting.summary import sharpness_name, sharpness_title
from opsigcli.sharpness_records import SharpnessPoint

RATES = "the parameter groups differ in lr (0.1, 0.2): λmax(D^½ H D^½) with D the learning rates, against 2"


def point(preconditioned: float | None, units: str = "", ratio: float | None = 0.5) -> SharpnessPoint:
    return SharpnessPoint(0, (1.0,), (0.0,), True, 1, 2.0, ratio, preconditioned, units=units)


@pytest.mark.parametrize(
    ("points", "name", "title"),
    [
        ([point(None)], "sharpness", "Sharpness"),
        ([point(3.0), point(None, ratio=None)], "preconditioned sharpness", "Preconditioned sharpness"),
        (  # Adam, then gradient descent
            [point(3.0), point(None)],
            "sharpness as each threshold takes it",
            "Sharpness as each threshold takes it",
        ),
        (
            [point(3.0, RATES), point(None)],
            "sharpness as each threshold takes it",
            "Sharpness as each threshold takes it",
        ),
        (
            [point(3.0, RATES)],
            "sharpness λmax(D^½ H D^½)",
            "Sharpness λmax(D^½ H D^½) with D the learning rates, against 2",
        ),
        (
            [point(3.0), point(1.0, RATES)],
            "sharpness as each threshold takes it",
            "Sharpness as each threshold takes it",
        ),
    ],
)
def test_sharpness_is_called_what_it_is(points: list[SharpnessPoint], name: str, title: str) -> None:
    assert (sharpness_name(points), sharpness_title(points)) == (name, title)

"""Where a swing began to grow, and how fast that was."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.evidence.growth import growing
from opsigcli.mining.verdict import judge
from opsigcli.mining_records import Evidence


@pytest.mark.parametrize(
    ("gap", "peak", "begin"),
    [
        ([0.1, -0.2, 0.4, -0.8, 0.1], 3, 0),  # from the first step
        ([0.3, -0.2, 0.4, -0.8], 3, 1),  # before that it was larger
        ([0.1, 0.2, -0.4, 0.8], 3, 1),  # before that it had the same sign
        ([0.0, 0.2, -0.4], 2, 1),
        ([0.5, 0.8], 1, 1),  # no swing
        ([0.5], 0, 0),
    ],
)
def test_a_swing_grows_while_it_turns_every_step(gap: list[float], peak: int, begin: int) -> None:
    assert growing(np.array(gap), peak) == begin


def test_what_descent_predicts_stands_beside_what_was_seen() -> None:
    evidence = {
        "opposition": Evidence(0.5, 0.0),
        "gradient_cosine": Evidence(-0.5, 0.0),
        "separation": Evidence(3.0, 0.2),
        "cohesion": Evidence(0.4, 0.0),
        "growth": Evidence(1.76, 1.68),
    }
    assert any("grew 1.76 times" in reason and "predicts 1.68" in reason for reason in judge(evidence, 25)[1])

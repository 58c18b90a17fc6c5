"""Answers are right where the largest output is the label's; an output that is no number answers nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opsigcli.objective.losses.base import open_loss
from opsigcli.runs.right_answers import right_answers, share_right


class Stub:
    """As much of an objective as answers need."""

    device = torch.device("cpu")

    def __init__(self, loss: str, labels: np.ndarray) -> None:
        self.kind, self._labels, self.source = open_loss(loss), labels, self

    def read_targets(self, positions: np.ndarray) -> np.ndarray:
        """The labels at positions."""
        return self._labels[positions]


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        ("ce", np.array([0, 1, 0]), [[2.0, 1.0], [2.0, 1.0], [float("nan")] * 2]),
        ("bce", np.array([0.0, 0.0, 0.0], dtype=np.float32), [[-1.0], [1.0], [float("nan")]]),
    ],
)
def test_outputs_that_are_no_numbers_are_no_right_answers(
    loss: str, labels: np.ndarray, outputs: list[list[float]]
) -> None:
    found = right_answers(Stub(loss, labels), torch.tensor(outputs), np.arange(3))  # type: ignore[arg-type]
    assert found is not None
    assert found.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("right", "n"), [(500, 500), (350, 500), (200, 200), (3, 10), (0, 7), (49, 70)])
def test_a_share_of_equal_weights_is_the_number_that_a_gate_writes(right: int, n: int) -> None:
    answers = (np.arange(n) < right).astype(np.float64)
    assert share_right(np.full(n, 1 / n), answers) == right / n


def test_all_right_is_one_whatever_the_weights() -> None:
    weights = np.random.default_rng(0).uniform(0.1, 3, 997)
    assert share_right(weights / weights.sum(), np.ones(997)) == 1.0
    assert share_right(weights, np.arange(997) % 2) == pytest.approx(
        weights[1::2].sum() / weights.sum(), rel=1e-12
    )

"""Answers are right where the largest output is the label's; an output that is no number answers nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opsigcli.objective.losses.base import open_loss
from opsigcli.runs.right_answers import right_answers


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

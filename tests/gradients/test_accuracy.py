"""The share of labels that a model gets right, over the axis that the loss takes for classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.errors import UsageError
from opsigcli.gradients import ablation
from opsigcli.gradients.accuracy import accuracy
from opsigcli.objective.base import Objective

random = np.random.default_rng(0)


class Given(nn.Module):
    """Outputs are the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def share(loss: str, shape: tuple[int, ...], targets: np.ndarray) -> float | None:
    source = Rows(shape, len(targets))
    source.read_targets = targets.__getitem__
    if targets.ndim == 1:
        source.labels = targets
    share.inputs = source.inputs  # what the model puts out
    return accuracy(Objective(Given(), source, loss, batch_size=4))


def test_labels_are_compared_over_classes_and_ignored_ones_left_out() -> None:
    labels = np.array([0, 1, 2, -100, 1, 0, 2])
    found = share("ce", (3,), labels)
    kept = labels >= 0
    assert found == np.mean(share.inputs.argmax(1)[kept] == labels[kept])


def test_tokens_are_compared_over_the_vocabulary_which_is_last() -> None:
    tokens = random.integers(0, 5, (7, 5))  # as long as the vocabulary, so that neither axis stands out
    tokens[:4, 3:] = -100
    found = share("lm", (5, 5), tokens)
    kept = tokens >= 0
    assert found == np.mean(share.inputs.argmax(2)[kept] == tokens[kept])


def test_maps_are_compared_over_channels_without_the_label_that_the_loss_ignores() -> None:
    maps = random.integers(0, 3, (7, 2, 4))
    maps[:, 0, 0] = 255
    found = share("ce?ignore_index=255", (3, 2, 4), maps)
    kept = maps != 255
    assert found == np.mean(share.inputs.argmax(1)[kept] == maps[kept])


@pytest.mark.parametrize(("loss", "edge"), [("bce?pos_weight=3", 0.0), ("mse", 0.5)])
def test_one_output_says_yes_above_its_middle(loss: str, edge: float) -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 1])
    found = share(loss, (1,), labels)
    assert found == np.mean((share.inputs[:, 0] > edge) == labels)


def test_numbers_have_none() -> None:
    assert share("mse", (2,), random.normal(size=(7, 2)).astype(np.float32)) is None


def test_test_data_of_other_classes_are_refused() -> None:
    source = Rows((4,))
    source.classes = ("b", "a", "c")
    with pytest.raises(UsageError, match="classes of the run"):
        ablation.open_test("planted?n=200", source)

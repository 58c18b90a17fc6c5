"""Gradients clipped entry by entry are named as what made a step, by weights and by the optimizer's states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Opsig
from short_runs import Make, checks, sgd, short_run


@pytest.mark.parametrize(
    "rule",
    [
        sgd(lr=0.5),
        sgd(lr=0.2, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    ],
)
def test_clipping_by_value_contradicts_the_threshold(opsig: Opsig, tmp_path: Path, rule: Make) -> None:
    (found,) = checks(opsig, short_run(opsig, tmp_path, rule, limit=0.005), "--steps", "3:3")
    assert found["verdict"] == "contradicted"
    assert "gradients clipped by value to 0.005" in found["reason"]


def test_a_limit_that_no_gradient_reaches_is_not_spoken_of(opsig: Opsig, tmp_path: Path) -> None:
    (found,) = checks(opsig, short_run(opsig, tmp_path, sgd(lr=0.5), limit=10.0), "--steps", "3:3")
    assert found["verdict"] == "confirmed"

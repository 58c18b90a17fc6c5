"""Curvature goes through BatchNorm's statistics where training had those of the batch, while it is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import Rows
from torch import nn

from opsigcli.derivatives import micro_batch
from opsigcli.derivatives.coupled import couple, through_statistics
from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.gradients.arm import largest_curvature
from opsigcli.gradients.pair_curvature import along
from opsigcli.objective.base import Objective

N, WIDTH, CLASSES = 60, 4, 3


@pytest.fixture
def objective() -> Objective:
    source = Rows((WIDTH,), n=N)
    source.labels = source.targets = np.arange(N) % CLASSES
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)
    )
    made = Objective(model, source, "ce", batch_size=16)
    made.use_statistics("batch")
    return made


def dense(objective: Objective, training: bool) -> float:
    """The largest eigenvalue of the whole Hessian in float64, with the statistics of all examples or held fixed."""
    objective.mean_loss()  # gives the model the statistics of the data
    model = objective.model.double().train(training)
    names, values = zip(*((name, p.detach()) for name, p in model.named_parameters()), strict=True)
    sizes, shapes = [p.numel() for p in values], [p.shape for p in values]
    inputs, targets = objective.batch(np.arange(N))

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (inputs.double(),))
        return nn.functional.cross_entropy(outputs, targets)

    norm = model[1]
    kept = norm.momentum
    norm.momentum = 0.0
    found = torch.autograd.functional.hessian(loss, torch.cat([p.reshape(-1) for p in values]))
    norm.momentum = kept
    objective.model.float().eval()
    return float(torch.linalg.eigvalsh(found)[-1])


def test_the_largest_eigenvalue_is_that_of_the_loss_that_was_trained(objective: Objective) -> None:
    moving, fixed = dense(objective, training=True), dense(objective, training=False)
    assert abs(moving - fixed) > 0.05 * fixed  # these are two numbers
    assert largest_curvature(objective, "batch") == pytest.approx(moving, rel=2e-3)
    assert largest_curvature(objective, "re-estimate") == pytest.approx(fixed, rel=2e-3)


def test_afterwards_examples_do_not_depend_on_one_another(objective: Objective) -> None:
    with through_statistics(objective, "batch") as positions:
        assert sorted(positions) == list(range(N))
        assert objective.batch_size == N
        assert objective.batch_statistics
    assert objective.batch_size == 16
    assert not objective.batch_statistics


def test_a_pair_curves_no_more_than_the_sharpness_that_it_is_held_against(objective: Objective) -> None:
    run = SimpleNamespace(objective=objective)
    sides = np.arange(0, N, 2), np.arange(1, N, 2)
    of_pair = {mode: along(run, *sides, mode) for mode in ("batch", "re-estimate")}
    assert of_pair["batch"] != pytest.approx(of_pair["re-estimate"], rel=0.05)
    for mode, curvature in of_pair.items():
        assert curvature <= 1.002 * largest_curvature(objective, mode)


def test_without_batch_norm_nothing_changes() -> None:
    objective = Objective(nn.Linear(WIDTH, CLASSES), Rows((WIDTH,), n=N), "ce", batch_size=16)
    with through_statistics(objective, "batch") as positions:
        assert len(positions) == N
        assert objective.batch_size == 16
        assert not objective.batch_statistics


def test_statistics_are_those_of_four_times_as_many_examples_as_pass_elsewhere(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "IN_FLIGHT", 1 << 17)
    objective.batch_size = 10_000
    fit_micro_batch(objective, objective.parameters)
    elsewhere = objective.batch_size
    assert elsewhere > 100
    for times, batches in ((3.5, 1), (5, 2), (15, 4)):
        n = int(times * elsewhere)
        made = Objective(objective.model, Rows((WIDTH,), n=n), "ce", batch_size=16)
        assert couple(made, np.arange(n))[1] == batches
        assert made.batch_size == -(-n // batches)

"""BatchNorm with the statistics of the data, against one batch that holds it all, in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import Rows
from problems import batch_norm as net_with_batch_norm
from torch import nn

from opsigcli.objective import batch_norm
from opsigcli.objective.base import Objective

N = 40


class Twice(nn.Module):
    """One BatchNorm that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        return self.head(self.norm(self.second(x)).mean((2, 3)))


def objective(model: nn.Module | None = None, n: int = N) -> Objective:
    torch.manual_seed(0)
    source = Rows((2, 5, 5), n)
    source.inputs = 3 + 2 * source.inputs
    return Objective(model or net_with_batch_norm(), source, "ce", batch_size=7)


def in_training(of: Objective) -> np.ndarray:
    """Losses (N,) of one batch in training mode, in float64."""
    x, y = of.batch(np.arange(len(of.source)))
    with torch.no_grad():
        return F.cross_entropy(
            copy.deepcopy(of.model).double().train()(x.double()), y, reduction="none"
        ).numpy()


def test_losses_are_those_of_one_batch_in_training_mode() -> None:
    of = objective()
    stored = of.losses()
    of.use_statistics("re-estimate")
    np.testing.assert_allclose(of.losses(), in_training(of), rtol=2e-5)
    assert np.abs(stored - of.losses()).max() > 0.1
    of.use_statistics("stored")
    of.load(objective().model.state_dict())
    np.testing.assert_array_equal(of.losses(), stored)


def test_statistics_follow_the_weights_and_are_not_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective()
    of.use_statistics("re-estimate")
    of.losses()
    passes = []
    put = batch_norm._Moments.put
    monkeypatch.setattr(batch_norm._Moments, "put", lambda self: (passes.append(1), put(self)))
    of.losses()
    assert not passes
    with torch.no_grad():
        of.parameters[0].mul_(3).add_(0.5)
    np.testing.assert_allclose(of.losses(), in_training(of), rtol=2e-5)
    of.load({name: -t if name == "0.weight" else t for name, t in of.model.state_dict().items()})
    np.testing.assert_allclose(of.losses(), in_training(of), rtol=2e-5)
    assert len(passes) == 2


def test_several_passes_and_a_sample_come_near_to_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    of = objective(n=600)
    whole = in_training(of)
    for name, value in (("PASS_BYTES", 200_000), ("SAMPLE", 300)):
        with monkeypatch.context() as patch:
            patch.setattr(batch_norm, name, value)
            of.use_statistics("re-estimate")
            found = of.losses()
        assert found.mean() == pytest.approx(whole.mean(), rel=0.02)
        assert np.abs(found - whole).max() < 0.2
    assert len(of.data_statistics.positions) == 300


def test_a_norm_that_is_used_twice_has_the_statistics_of_both_uses() -> None:
    of = objective(Twice())
    of.use_statistics("re-estimate")
    of.losses()
    x = of.batch(np.arange(N))[0]
    with torch.no_grad():
        first = of.model.first(x)
        seen = F.batch_norm(first, None, None, of.model.norm.weight, of.model.norm.bias, True)
        second = of.model.second(seen.relu())
    inputs = torch.cat([t.transpose(0, 1).reshape(3, -1) for t in (first, second)], 1).double()
    torch.testing.assert_close(of.model.norm.running_mean.double(), inputs.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        of.model.norm.running_var.double(), inputs.var(1, correction=0), rtol=1e-4, atol=1e-5
    )


def test_a_model_without_batch_norm_has_no_statistics() -> None:
    of = objective(nn.Sequential(nn.Flatten(), nn.Linear(50, 3)))
    of.use_statistics("re-estimate")
    assert of.data_statistics is None


def test_synchronised_batch_norms_go_without_the_other_processes() -> None:
    plain, synced = nn.BatchNorm1d(3), nn.SyncBatchNorm(3)
    x = torch.randn(5, 3)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="SyncBatchNorm"):
            synced(x)
        batch_norm.alone(synced)
        torch.testing.assert_close(synced(x), plain(x))
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(synced.running_mean, plain.running_mean)

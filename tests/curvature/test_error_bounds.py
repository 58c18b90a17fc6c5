"""The bounds by which Lanczos stops hold for the errors that are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opsigcli.curvature.krylov import Krylov
from opsigcli.curvature.lanczos import top_eigenvalues

CPU = torch.device("cpu")


def spectrum(*top: float) -> torch.Tensor:
    """Chosen eigenvalues above a bulk."""
    return torch.tensor(np.r_[top, 0.05 * np.random.default_rng(0).standard_normal(300)])


@pytest.mark.parametrize("seed", range(3))
def test_no_eigenvalue_is_farther_off_than_its_bound_once_its_neighbour_is_seen(seed: int) -> None:
    diagonal = spectrum(1.0, 0.9, 0.5)
    krylov, compared = Krylov(lambda v: diagonal * v, len(diagonal), 2, seed, CPU, torch.float64), 0
    for _ in range(25):
        assert krylov.basis.reserve()
        krylov.expand()
        values, _ = krylov.ritz()
        if len(values) == 2 and values[1] > 0.85:  # both are seen, and nothing lies between
            true = np.abs(values - np.array([1.0, 0.9]))
            assert (true <= krylov.errors() + 1e-12).all()
            compared += 1
    assert compared > 3


def test_what_is_called_converged_is_within_the_tolerance_by_its_bound_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Krylov, "missed", lambda krylov, near: 0.0)
    diagonal = spectrum(1.0, 0.7, 0.4)
    for seed in range(10):
        found = top_eigenvalues(
            lambda v: diagonal * v, len(diagonal), 1, dtype=torch.float64, seed=seed, tolerance=1e-3
        )
        assert found.converged
        assert abs(found.eigenvalues[0] - 1) <= 1e-3

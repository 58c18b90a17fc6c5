"""Densities and traces against dense spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opsigcli.curvature.density import DEGREE, density, hessian_trace

BULK = 0.1 * np.random.default_rng(2).normal(size=1000)
SPECTRUM = np.r_[9.0, 7.0, 4.0, 2.0, BULK]


def matvec(spectrum):
    diagonal = torch.tensor(spectrum)
    return lambda v: diagonal * v


def test_a_density_agrees_with_the_smoothed_spectrum_within_its_errors():
    found = density(matvec(SPECTRUM), len(SPECTRUM), dtype=torch.float64)
    exact = np.exp(-0.5 * ((found.grid[:, None] - SPECTRUM) / found.width) ** 2).mean(1) / (
        found.width * np.sqrt(2 * np.pi)
    )
    assert found.values.sum() * (found.grid[1] - found.grid[0]) == pytest.approx(1, abs=1e-3)
    assert (np.abs(found.values - exact) <= 5 * found.errors + 0.02 * exact.max()).all()


def test_errors_of_a_density_are_as_large_as_its_misses():
    misses = []
    for seed in range(0, 96, 8):
        found = density(matvec(SPECTRUM), len(SPECTRUM), dtype=torch.float64, seed=seed, degree=20)
        at = int(np.argmin(np.abs(found.grid)))
        exact = np.exp(-0.5 * ((found.grid[at] - SPECTRUM) / found.width) ** 2).mean() / (
            found.width * np.sqrt(2 * np.pi)
        )
        misses.append((found.values[at] - exact) / found.errors[at])
    assert 0.5 < np.sqrt(np.mean(np.square(misses))) < 2


def test_outliers_are_those_that_stand_off_the_bulk():
    found = density(matvec(SPECTRUM), len(SPECTRUM), dtype=torch.float64)
    assert found.outliers == (4,) * 4
    assert 0.4 < found.bulk < 0.7
    assert found.matvecs == 4 * 40


def test_more_starts_are_taken_where_they_disagree():
    found = density(matvec(SPECTRUM[:60]), 60, dtype=torch.float64)
    assert len(found.outliers) == 8
    assert found.errors.max() > 0.02 * found.values.max()


@pytest.mark.parametrize(
    "spectrum", [BULK, np.ones(30), np.linspace(0, 1, 300)], ids=["normal", "equal", "uniform"]
)
def test_a_bulk_alone_has_no_outliers(spectrum):
    found = density(matvec(spectrum), len(spectrum), dtype=torch.float64, probes=4)
    assert set(found.outliers) == {0}


def test_a_density_stops_when_told_but_not_before_it_has_errors():
    found = density(matvec(SPECTRUM), len(SPECTRUM), dtype=torch.float64, stop=lambda: "enough")
    assert len(found.outliers) == 2
    assert np.isfinite(found.errors).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_trace_agrees_within_its_error(seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(300, 300)))[0]
    spectrum = np.r_[9.0, -7.0, 4.0, np.random.default_rng(5).normal(size=297) * 0.1]
    matrix = torch.tensor((turn * spectrum) @ turn.T)
    found = hessian_trace(lambda v: matrix @ v, 300, seed=seed, dtype=torch.float64)
    assert abs(found.value - spectrum.sum()) < 4 * found.error
    assert found.error < 0.2 * 9  # without the range taken out it would be near 4 × 9 / √20
    assert found.matvecs == 60


def test_the_trace_of_a_small_operator_is_exact():
    found = hessian_trace(matvec(np.array([3.0, -1.0, 0.5])), 3, dtype=torch.float64)
    assert found.value == pytest.approx(2.5)
    assert found.error == 0


def test_products_are_at_most_as_many_as_the_help_says() -> None:
    from typing import get_args, get_type_hints

    from opsigcli.options import SharpnessOptions

    spent = 0

    def matvec(v: torch.Tensor) -> torch.Tensor:
        nonlocal spent
        spent += 1
        return torch.linspace(-1, 1, 500, dtype=v.dtype) ** 9 * v

    density(matvec, 500)
    hessian_trace(matvec, 500)
    said = get_args(get_type_hints(SharpnessOptions, include_extras=True)["spectrum"])[1].help
    most = 8 * DEGREE + 60 + 1  # starts of the density, trace, and the part of the top eigenvector
    assert f"at most {most} products" in said
    assert spent <= most - 1

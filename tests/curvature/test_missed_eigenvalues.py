"""What a random start can have hidden, against a Krylov space known whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from opsigcli.curvature.missed_eigenvalues import _squares, expected_missed

RNG = np.random.default_rng(3)
SPECTRUM = np.sort(np.r_[1.0, 0.8, 0.5, 0.1 * RNG.random(40)])[::-1]
START = RNG.normal(size=len(SPECTRUM))
START /= np.linalg.norm(START)


def lanczos(steps):
    """Coefficients α and β, and the basis (P, steps), of a diagonal matrix."""
    basis, alphas, betas = START[:, None], [], []
    for _ in range(steps):
        rest = SPECTRUM * basis[:, -1]
        alphas.append(basis[:, -1] @ rest)
        for _ in range(2):
            rest = rest - basis @ (basis.T @ rest)
        betas.append(np.linalg.norm(rest))
        basis = np.column_stack([basis, rest / betas[-1]])
    return np.array(alphas), np.array(betas), basis


def expected(steps, count=1, near=1e-3):
    alphas, betas, _ = lanczos(steps)
    matrix = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    values = np.linalg.eigvalsh(matrix)[::-1]
    return expected_missed(alphas, betas, values, count, near, len(SPECTRUM))


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_the_polynomials_are_those_of_the_basis(steps):
    alphas, betas, basis = lanczos(steps)
    truth = np.square(basis / START[:, None]).sum(axis=1)
    np.testing.assert_allclose(_squares(alphas, betas, SPECTRUM), truth, rtol=1e-3)


def test_the_expected_number_falls_with_each_product_once_the_values_are_found():
    numbers = [expected(steps, count=2) for steps in range(4, 16)]
    assert numbers[0] > 0.1
    assert numbers[-1] < 1e-4
    assert all(after < before for before, after in pairwise(numbers[2:]))


def test_a_wider_tolerance_and_fewer_values_leave_less_to_miss():
    assert expected(8, near=1e-2) < expected(8, near=1e-3)
    assert expected(8, count=1) < expected(8, count=3)

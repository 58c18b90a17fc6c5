"""Features evened where all gradients differ in few directions, against naive inverses and known groups."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining import evened
from opsigcli.mining.evened import directions_in, evening, fit_evened
from opsigcli.mining.outliers import separation
from opsigcli.mining.similarity import Gradients, residual_adjusted_cosine, similarity_to
from opsigcli.mining.usual_gradient import fit

M, OUTPUTS, WIDTH = 400, 4, 90
FIRST, SECOND = np.arange(10), np.arange(10, 20)


def in_directions(count: int, size: float = 1.0) -> Gradients:
    """All differ in so many directions and a little in all; two groups of 10 are ``size`` apart along one more."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    residuals = rng.standard_normal((M, OUTPUTS))
    left = rng.standard_normal((M, count)) @ axes[:count] / np.sqrt(count)
    left += 0.4 * rng.standard_normal((M, WIDTH)) / np.sqrt(WIDTH)
    left[FIRST] += size * axes[count]
    left[SECOND] -= size * axes[count]
    usual = residuals @ rng.standard_normal((OUTPUTS, WIDTH))
    sketch = (usual + np.linalg.norm(residuals, axis=1)[:, None] * left).astype(np.float32)
    return Gradients(0, sketch, np.linalg.norm(sketch, axis=1), residuals.astype(np.float32))


@pytest.mark.parametrize("count", [3, 12, 40])
def test_features_differ_in_as_many_directions_as_they_were_drawn_in(count: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((3000, count)) @ np.linalg.qr(rng.standard_normal((60, count)))[0].T
    assert directions_in(features) == pytest.approx(count, rel=0.1)


def test_one_example_and_features_of_zeros_are_not_evened() -> None:
    assert directions_in(np.ones((1, 5))) == np.inf
    assert directions_in(np.zeros((9, 5))) == np.inf


def test_evening_is_a_scaled_inverse_of_the_moments_and_keeps_the_size_of_products() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((200, 6)) * [3, 2, 1, 0.5, 0.2, 0]
    matrix = evening(features)
    moments = sum(np.outer(row, row) for row in features) / 200
    values = np.linalg.eigvalsh(moments)
    spread = (values**2).sum() / values.sum()
    naive = np.linalg.inv(moments + spread * np.eye(6))
    kernel = matrix @ matrix.T
    np.testing.assert_allclose(kernel / np.trace(kernel), naive / np.trace(naive), atol=1e-5)
    before, after = (rows @ rows.T for rows in (features, features @ matrix))
    assert np.square(after).sum() == pytest.approx(np.square(before).sum(), rel=1e-4)


def test_a_group_stands_apart_in_a_direction_of_its_own_where_all_differ_in_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = in_directions(9)
    even = separation(residual_adjusted_cosine([at]), (FIRST, SECOND))
    monkeypatch.setattr(evened, "FEW", evened.FEWEST)
    assert even > 1.3 * separation(residual_adjusted_cosine([at]), (FIRST, SECOND))


@pytest.mark.parametrize("count", [3, 60])
def test_where_directions_are_many_or_those_of_few_groups_features_stay_as_they_are(count: int) -> None:
    at = in_directions(count)
    found, own = fit_evened(at)
    assert found.evening is None
    np.testing.assert_array_equal(own, fit(at)[1])
    np.testing.assert_array_equal(found.features(at), fit(at)[0].features(at))


def test_others_are_held_against_members_by_the_same_evened_features() -> None:
    at, among = in_directions(9), np.arange(20, 320)
    assert fit_evened(at.only(among))[0].evening is not None
    whole = residual_adjusted_cosine([at], among=among)
    others = np.arange(320, M)
    found = similarity_to(at, FIRST, among=among).similarity(at.only(others))
    np.testing.assert_allclose(found, whole[np.ix_(FIRST, others)], atol=1e-5)


def test_features_are_evened_whatever_they_are_where_that_is_asked_for() -> None:
    at = in_directions(60)
    found, own = fit_evened(at, always=True)
    products = own @ own.T
    np.fill_diagonal(products, 0)
    np.testing.assert_allclose(residual_adjusted_cosine([at], evened=True), products, atol=1e-5)
    np.testing.assert_allclose(own, fit(at)[1] @ evening(fit(at)[1]), atol=1e-5)
    assert found.evening is not None
    zeros = Gradients(0, np.zeros((M, WIDTH), np.float32), np.zeros(M), at.residuals)
    assert fit_evened(zeros, always=True)[0].evening is None

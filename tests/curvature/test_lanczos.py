"""Lanczos against dense float64 eigenvalues and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from opsigcli.curvature.basis import Basis
from opsigcli.curvature.krylov import Krylov
from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.errors import CurvatureError

RNG = np.random.default_rng(7)
SPECTRA = {
    "random": RNG.normal(size=300),
    "one outlier": np.r_[40.0, RNG.normal(size=300)],
    "power law with a negative tail": np.r_[1 / np.arange(1, 250), -0.1 * RNG.random(50)],
    "clustered top": np.r_[1 - 0.01 * np.arange(8), 0.5 * RNG.random(200)],
    "pair 1 % apart": np.r_[1.0, 0.99, 0.5, 0.3, 0.02 * RNG.normal(size=300)],
    "negative end dominates": np.r_[1.0, 0.8, 0.5, -100 * RNG.random(150)],
    "negative definite": -1 - RNG.random(150),
    "rank two": np.r_[3.0, 1.0, np.zeros(200)],
    "rank two, negative": np.r_[-3.0, -1.0, np.zeros(200)],
    "repeated": np.r_[5.0, 5.0, 3.0, 3.0, np.zeros(60)],
    "identity": np.ones(30),
    "zero": np.zeros(20),
    "size one": np.array([3.0]),
    "size one, negative": np.array([-3.0]),
    "size two": np.array([3.0, -7.0]),
    "huge": 1e12 * RNG.random(60),
    "tiny": 1e-12 * RNG.random(60),
}


def dense(eigenvalues: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A symmetric float64 matrix with these eigenvalues."""
    size = len(eigenvalues)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return torch.tensor((turn * eigenvalues) @ turn.T)


def solve(matrix: torch.Tensor, count: int, dtype: torch.dtype = torch.float64, **options):
    typed = matrix.to(dtype)
    return top_eigenvalues(lambda v: typed @ v, len(matrix), count, dtype=dtype, **options)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_eigenvalues_agree_with_a_dense_solver(name, count):
    matrix = dense(SPECTRA[name])
    truth = np.linalg.eigvalsh(matrix.numpy())[::-1][:count]
    found = solve(matrix, count)
    assert len(found.eigenvalues) == min(count, len(matrix))
    if name == "rank two, negative":  # λ₁ = 0: no error is small relative to it
        assert found.converged or found.reason
    else:
        assert found.converged, found.reason
    scale = max(abs(truth[0]), 1e-9 * abs(SPECTRA[name]).max())
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize(
    "name", ["random", "one outlier", "clustered top", "negative end dominates", "repeated"]
)
def test_float32_reaches_the_same_tolerance(name):
    matrix = dense(SPECTRA[name])
    truth = np.linalg.eigvalsh(matrix.numpy())[::-1][:3]
    found = solve(matrix, 3, torch.float32)
    assert found.converged, found.reason
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * abs(truth[0]))


@pytest.mark.parametrize("name", ["random", "clustered top", "rank two", "negative end dominates"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_are_orthonormal_and_residuals_are_true(name, dtype):
    matrix = dense(SPECTRA[name])
    found = solve(matrix, 3, dtype)
    vectors = found.vectors.double().numpy()
    precision = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=precision)
    true = np.linalg.norm(matrix.numpy() @ vectors.T - vectors.T * found.eigenvalues, axis=0)
    norm = np.abs(SPECTRA[name]).max() / found.eigenvalues[0]
    np.testing.assert_allclose(found.residuals, true / found.eigenvalues[0], atol=3 * precision * norm)
    truth = np.sort(SPECTRA[name])[::-1][:3]
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * truth[0])


def test_eigenvalues_agree_with_scipy_on_an_operator_without_a_matrix():
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = 4000
    diagonal = torch.tensor(np.r_[9.0, 8.0, 7.5, np.random.default_rng(3).normal(size=size - 3)])
    direction = torch.tensor(np.random.default_rng(4).normal(size=size))
    direction /= direction.norm()

    def matvec(v):
        return diagonal * v + 5 * direction * (direction @ v)

    operator = LinearOperator((size, size), matvec=lambda v: matvec(torch.tensor(v)).numpy(), dtype=float)
    truth = np.sort(eigsh(operator, k=4, which="LA", return_eigenvectors=False, tol=1e-10))[::-1]
    found = top_eigenvalues(matvec, size, 4, dtype=torch.float64)
    assert found.converged
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * truth[0])


def scattered(rng: np.random.Generator) -> np.ndarray:
    """A bulk and independent outliers, ten in each factor of e: closer together than those of most networks."""
    outliers = np.exp(-np.cumsum(rng.exponential(0.1, 60)))
    return np.r_[outliers / outliers[0], 0.01 * rng.normal(size=1000)]


def share_wrong(spectra: list[np.ndarray], count: int) -> float:
    """The share of solves that call a value converged which is more than the tolerance off."""
    wrong = 0
    for seed, spectrum in enumerate(spectra):
        diagonal = torch.tensor(spectrum)
        truth = np.sort(spectrum)[::-1][:count]
        found = top_eigenvalues(
            lambda v, d=diagonal: d * v, len(diagonal), count, dtype=torch.float64, seed=seed
        )
        wrong += found.converged and bool(np.abs(found.eigenvalues - truth).max() > 1e-3)
    return wrong / len(spectra)


@pytest.mark.slow
def test_about_one_of_a_hundred_random_spectra_is_solved_wrongly_and_one_of_ten_without_the_guard(
    monkeypatch,
):
    rng = np.random.default_rng(11)
    spectra = [scattered(rng) for _ in range(300)]
    assert share_wrong(spectra, 1) <= 0.02
    monkeypatch.setattr(Krylov, "missed", lambda krylov, near: 0.0)
    assert share_wrong(spectra, 1) > 0.05


@pytest.mark.parametrize(("top", "count"), [((1, 0.99, 0.5, 0.3), 1), ((1, 0.5, 0.495, 0.1), 2)])
def test_a_near_double_eigenvalue_is_resolved_from_nearly_every_start(top, count, monkeypatch):
    spectra = [np.r_[top, 0.01 * np.random.default_rng(5).normal(size=1000)]] * 100
    assert share_wrong(spectra, count) <= 0.06
    monkeypatch.setattr(Krylov, "missed", lambda krylov, near: 0.0)
    assert share_wrong(spectra, count) > 0.25


@pytest.mark.parametrize("max_basis", [8, 12, 20])
def test_a_bounded_basis_finds_the_same_eigenvalues(max_basis):
    matrix = dense(np.r_[1 / np.sqrt(np.arange(1, 300)), -np.random.default_rng(6).random(100)])
    truth = np.linalg.eigvalsh(matrix.numpy())[::-1][:5]
    sizes = []
    grow = Basis.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Basis, "append", lambda basis, v: (grow(basis, v), sizes.append(basis.rows))[0])
        found = solve(matrix, 5, max_basis=max_basis)
    assert found.converged, found.reason
    assert max(sizes) <= max_basis < found.matvecs
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * truth[0])
    vectors = found.vectors.numpy()
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-12)
    true = np.linalg.norm(matrix.numpy() @ vectors.T - vectors.T * found.eigenvalues, axis=0)
    np.testing.assert_allclose(found.residuals, true / truth[0], atol=1e-12)


def test_too_few_matvecs_give_an_estimate_that_says_so():
    found = solve(dense(SPECTRA["random"]), 2, max_matvecs=5)
    assert (found.converged, found.matvecs) == (False, 5)
    assert "5 matvecs" in found.reason
    assert np.isfinite(found.eigenvalues).all()
    assert found.residuals.max() > 1e-3


def test_fewer_matvecs_than_eigenvalues_leave_the_rest_unknown():
    found = solve(dense(SPECTRA["random"]), 4, max_matvecs=2)
    assert not found.converged
    assert np.isfinite(found.eigenvalues[:2]).all()
    assert np.isnan(found.eigenvalues[2:]).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, 4])
def test_a_product_that_is_not_finite_ends_the_search_with_what_is_known(bad, at):
    matrix = dense(SPECTRA["random"])
    calls = []

    def matvec(v):
        calls.append(1)
        return matrix @ v * (bad if len(calls) == at else 1)

    found = top_eigenvalues(matvec, len(matrix), 1, dtype=torch.float64)
    assert (found.converged, found.matvecs) == (False, at)
    assert "NaN or infinity" in found.reason
    assert np.isfinite(found.eigenvalues[0]) == (at > 1)


@pytest.mark.parametrize("at", [1, 4])
def test_products_whose_length_is_too_large_for_the_type_end_the_search(at):
    """Their entries are finite, as those of weights of 1e30; a bug ended it."""
    matrix = dense(SPECTRA["random"]).float()
    calls = []

    def matvec(v):
        calls.append(1)
        return matrix @ v * (1e30 if len(calls) == at else 1)

    found = top_eigenvalues(matvec, len(matrix), 1, dtype=torch.float32)
    assert (found.converged, found.matvecs) == (False, at)
    assert "squares are too large for float32" in found.reason


def test_a_top_eigenvalue_below_the_rounding_of_the_type_is_not_called_converged():
    spectrum = np.r_[1e-4, -np.random.default_rng(8).random(200)]
    assert not solve(dense(spectrum), 1, torch.float32).converged
    wide = solve(dense(spectrum), 1, torch.float64)
    assert wide.converged
    assert wide.eigenvalues[0] == pytest.approx(1e-4, rel=1e-3)


def test_a_noisy_operator_is_not_called_converged():
    matrix = dense(SPECTRA["one outlier"])
    noise = torch.Generator().manual_seed(0)

    def matvec(v):
        return matrix @ v + 0.02 * torch.randn(len(v), generator=noise, dtype=v.dtype)

    found = top_eigenvalues(matvec, len(matrix), 1, dtype=torch.float64, max_matvecs=60)
    assert not found.converged


def test_an_operator_that_is_not_symmetric_is_not_called_converged():
    matrix = torch.tensor(np.random.default_rng(9).normal(size=(40, 40)))
    found = solve(matrix, 1)
    assert not found.converged
    assert "not symmetric" in found.reason


def test_products_too_coarse_for_the_tolerance_end_the_search_early():
    rng = np.random.default_rng(0)
    spectrum = np.r_[10.0, rng.uniform(-1, 1, 399)]
    matrix = torch.tensor(np.diag(spectrum) + 0.02 * rng.normal(size=(400, 400)))
    found = top_eigenvalues(lambda v: matrix @ v, 400, 1, dtype=torch.float64, max_matvecs=200)
    assert not found.converged
    assert "not symmetric" in found.reason
    assert "wider type" in found.reason
    assert found.matvecs < 40


def test_the_same_seed_gives_the_same_bits_and_another_seed_the_same_eigenvalues():
    matrix = dense(SPECTRA["random"])
    first, second, other = (solve(matrix, 2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.eigenvalues, second.eigenvalues)
    assert torch.equal(first.vectors, second.vectors)
    np.testing.assert_allclose(first.eigenvalues, other.eigenvalues, rtol=1e-3)


def test_each_matvec_is_reported():
    seen = []
    found = solve(dense(SPECTRA["one outlier"]), 1, callback=lambda *state: seen.append(state))
    assert [state[0] for state in seen] == list(range(1, found.matvecs + 1))
    assert seen[-1][1:] == (pytest.approx(found.eigenvalues[0]), pytest.approx(found.residuals[0]))
    assert seen[0][2] > seen[-1][2]


@pytest.mark.parametrize(("size", "count", "options"), [(0, 1, {}), (5, 0, {}), (50, 4, {"max_basis": 5})])
def test_an_impossible_request_is_an_error(size, count, options):
    with pytest.raises(CurvatureError, match="expected"):
        top_eigenvalues(lambda v: v, size, count, **options)


def test_an_operator_of_another_shape_is_an_error():
    with pytest.raises(CurvatureError, match="expected an operator"):
        top_eigenvalues(lambda v: v[:3], 5, 1)


def test_a_device_that_runs_full_restarts_with_the_vectors_that_fit(monkeypatch):
    matrix = dense(np.r_[1 / np.sqrt(np.arange(1, 300)), -np.random.default_rng(6).random(100)])
    truth = np.linalg.eigvalsh(matrix.numpy())[::-1][:4]
    rows = []
    empty = torch.empty

    def full(*shape, **options):
        if len(shape) == 2:
            rows.append(shape[0])
            if len(rows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", full)
    found = solve(matrix, 4)
    assert found.converged, found.reason
    assert len(rows) > 2
    assert found.matvecs > 16
    np.testing.assert_allclose(found.eigenvalues, truth, rtol=0, atol=1e-3 * truth[0])


def test_a_device_with_no_room_at_all_is_an_error(monkeypatch):
    def full(*shape, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(CurvatureError, match="not enough memory"):
        solve(dense(SPECTRA["random"]), 1)


def test_a_reason_to_stop_ends_the_search_with_what_is_known():
    asked = []
    found = solve(
        dense(SPECTRA["random"]), 2, stop=lambda: "time is up" if asked.append(1) or len(asked) > 6 else ""
    )
    assert (found.converged, found.matvecs, found.reason) == (False, 6, "time is up")
    assert np.isfinite(found.eigenvalues).all()

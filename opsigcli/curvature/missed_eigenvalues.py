"""Eigenvalues that a Lanczos run may have passed over."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

REACH = 2.0  # |θ₁| above θ₁: what lies farther shows after few products
POINTS = 48  # of the integral, on either side of a found value


def expected_missed(
    alphas: NDArray[np.float64],
    betas: NDArray[np.float64],
    values: NDArray[np.float64],
    count: int,
    near: float,
    size: int,
) -> float:
    """The expected number of eigenvalues among the k largest that are farther than ``near`` from those found.

    Basis vector j of a run without restart is ``p_j(A) v₁``, with polynomials that its coefficients define,
    ``p_0 = 1``, ``β_j p_j(t) = (t − α_j) p_(j−1)(t) − β_(j−1) p_(j−2)(t)``. As basis vectors are orthonormal, the part
    c of the start in an eigenvector of λ has ``c² S(λ) ≤ 1``, ``S = Σ_j p_j²``. A random start has a part of δ or less
    with the probability ``√(2P/π) δ`` at most. Hence the number is at most ``∫ ρ(t) min(1, √(2P / π S(t))) dt`` over
    the places between and above the found values, for eigenvalues that lie as densely, and independently, as those
    seen: ρ is one more than the Ritz values from ``θ_k − |θ₁| / 2`` up, over that range. Eigenvalues that repel each
    other are missed more rarely.

    Args:
        alphas: (m,) α, the diagonal of the tridiagonal matrix.
        betas: (m,) β, below the diagonal, with the length of the next vector as the last.
        values: (m,) Ritz values θ, largest first.
        count: k.
        near: distance > 0 within which a value counts as found.
        size: P.

    Reference:
        Kuczyński & Woźniakowski 1992, SIAM J. Matrix Anal. Appl. 13(4), for random starts; van Dorsselaer,
        Hochstenbach & van der Vorst 2000, the same, 22(3), section 3, for the polynomials.
    """
    found, half = values[:count], abs(float(values[0])) / 2
    density = (int((values >= found[-1] - half).sum()) + 1) / (float(found[0] - found[-1]) + half)
    steps = [found[0] + _steps(near, 2 * REACH * half)]
    for upper, lower in pairwise(found):
        middle = float(upper - lower) / 2
        if middle > near:
            steps += [upper - _steps(near, middle), lower + _steps(near, middle)]
    places = np.stack(steps)
    chances = np.minimum(1.0, np.sqrt(2 * size / (math.pi * _squares(alphas, betas, places))))
    widths = np.abs(np.diff(places, axis=1))
    return density * float((widths * (chances[:, 1:] + chances[:, :-1]) / 2).sum())


def _steps(first: float, last: float) -> NDArray[np.float64]:
    """Distances from ``first`` to ``last``, in equal ratios."""
    return np.geomspace(first, max(first, last), POINTS)


def _squares(
    alphas: NDArray[np.float64], betas: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``S(t) = Σ_j p_j(t)²``."""
    before, now = np.zeros_like(places), np.ones_like(places)
    total, previous = np.ones_like(places), 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for alpha, beta in zip(alphas, betas, strict=True):
            before, now = now, ((places - alpha) * now - previous * before) / beta
            previous = beta
            total += np.square(now)
    return np.nan_to_num(total, nan=np.inf)

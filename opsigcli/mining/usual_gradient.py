"""The usual gradient of an output residual at one checkpoint, and what each gradient has beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats

TINY = 1e-12
REFERENCES = 700  # random examples that what is usual is taken from
ROUNDS = 3  # of the fit; each counts outlying examples less
RIDGE = 1.0  # in examples: a direction of residuals that fewer have is hardly fitted
LEVEL = 1.5  # medians of the remainders' lengths, at which a remainder counts half


class Usual(NamedTuple):
    """What gradients at one checkpoint usually are for their output residual, and how far they usually are from it."""

    slope: Floats  # (C, k) B, gradient per unit of output residual
    level: float  # length of a remainder, per unit of output residual, that counts half

    def features(self, at: Gradients) -> Floats:
        """What each gradient has beyond the usual one of its residual, (M, k) float32, of length below 1.

        ``φ_i = r_i / √(‖r_i‖² + level²)`` with ``r_i = (g_i − Bᵀδ_i) / ‖δ_i‖``.
        """
        direction, per_unit = per_residual(at)
        left = per_unit - direction @ self.slope
        return _short(left, _squares(left), self.level)


def fit(at: Gradients, ridge: float = RIDGE) -> tuple[Usual, Floats]:
    """The usual gradient of an output residual, by a robust ridge regression.

    ``B = argmin_B Σ_i w_i ‖(g_i − Bᵀδ_i) / ‖δ_i‖‖² + λ ‖B‖²``, three times: ``w_i = 1`` first, and then
    ``1 / √(1 + (‖r_i‖ / median ‖r‖)²)``, so that outliers do not make themselves usual. A network's gradient is
    ``J_iᵀδ_i``: B stands for the Jacobian that all inputs have in common.

    Args:
        at: gradients of R examples at one checkpoint.
        ridge: λ, in examples.

    Returns:
        B with 1.5 times the median length of the remainders; and their features, each left out of its own fit, (R, k).
    """
    direction, per_unit = (part.astype(np.float64) for part in per_residual(at))
    basis = np.eye(direction.shape[1])
    if len(direction) < direction.shape[1]:  # the fit lies in the span of the residuals
        basis = np.linalg.qr(direction.T)[0]
        direction = direction @ basis
    squares, weights = _squares(per_unit), np.ones(len(direction))
    for done in range(1, ROUNDS + 1):
        weighted = direction.T * weights
        inverse = np.linalg.inv(weighted @ direction + ridge * np.eye(direction.shape[1]))
        slope = inverse @ (weighted @ per_unit)
        own = weights * ((direction @ inverse) * direction).sum(axis=1)
        if done < ROUNDS:  # lengths alone are needed, at no more than a product with what has few columns
            across = direction @ (slope @ slope.T) - 2 * (per_unit @ slope.T)
            lengths = np.sqrt(np.maximum(squares + (across * direction).sum(axis=1), 0)) / (1 - own)
            weights = 1 / np.sqrt(1 + (lengths / max(float(np.median(lengths)), TINY)) ** 2)
    left = (per_unit - direction @ slope) / (1 - own)[:, None]
    squares = _squares(left)
    level = max(LEVEL * float(np.median(np.sqrt(squares))), TINY)
    return Usual(np.asarray(basis @ slope, dtype=np.float32), level), _short(left, squares, level)


def couples(at: Gradients) -> float:
    """A ridge for many outputs: ``e (e + 1) / 2``, at least 1, for output residuals in e directions.

    ``e = (tr DᵀD)² / ‖DᵀD‖²`` of their directions D, Frobenius: C − 1 of C classes as frequent as one another, and the
    ridge how many couples of classes there are. The more classes, the fewer examples has each, and a group is the more
    of what its class is fitted to; and the less do residuals of two classes oppose one another, so that little is left
    in. In small networks that pool, ridges of 100 to 400 do best for 20 and 50 classes, and of 1 to 10 for 4.
    """
    direction = per_residual(at)[0].astype(np.float64)
    if len(direction) < direction.shape[1]:
        direction = direction.T
    moments = direction.T @ direction
    several = float(np.trace(moments) ** 2 / max(np.square(moments).sum(), TINY))
    return max(several * (several + 1) / 2, RIDGE)


def per_residual(at: Gradients) -> tuple[Floats, Floats]:
    """Directions of the output residuals, and gradients per unit of residual; zeros where there is no residual."""
    residuals, sketch = (np.asarray(part, dtype=np.float32) for part in (at.residuals, at.sketch))
    lengths = np.linalg.norm(residuals, axis=1, keepdims=True)
    # Divided and not scaled: what is parallel stays so to the last digit, and ties stay ties.
    direction, per_unit = (
        np.divide(part, lengths, out=np.zeros_like(part), where=lengths > TINY)
        for part in (residuals, sketch)
    )
    return direction, per_unit


def _squares(rows: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _short(rows: Floats, squares: Floats, level: float) -> Floats:
    return np.asarray(rows / np.sqrt(squares + level**2)[:, None], dtype=np.float32)

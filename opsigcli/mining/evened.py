"""Where all gradients differ in few directions, as in networks that pool: features that differ alike in all of them.

And where pairs that are alike are told apart, whatever they differ in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.usual_gradient import RIDGE, Usual, fit

if TYPE_CHECKING:
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats

# Directions that gradients differ in, between which features are evened. Networks that pool have 5 to 19. Perceptrons
# on vectors and pictures have 20 to 220: planted groups are what is common there, and evening would hide weak ones.
# Fewer than 6 are mostly those of a few strong groups (border colours: 3 to 7), and evening brings up small ones.
FEW = 20.0
FEWEST = 6.0
ASKED = 200  # references whose products say how many directions there are


class Evened(NamedTuple):
    """What gradients at one checkpoint have beyond the usual one, evened where they differ in few directions."""

    usual: Usual
    evening: Floats | None  # (k, k) that features are multiplied with; None where they stay as they are
    few: bool  # whether gradients differ in few directions, and not in those of a few strong groups

    def features(self, at: Gradients) -> Floats:
        """Features φ of all gradients, (M, k) float32."""
        found = self.usual.features(at)
        return found if self.evening is None else np.asarray(found @ self.evening)


def fit_evened(at: Gradients, *, always: bool = False, ridge: float = RIDGE) -> tuple[Evened, Floats]:
    """The usual gradient (``usual_gradient.fit``), and how features beyond it are evened.

    Args:
        at: gradients of R examples at one checkpoint.
        always: whether features are evened wherever they differ at all, and not where they do in few directions alone.
        ridge: of the fit, in examples.

    Returns:
        Both; and the examples' own features, each left out of the fit of its usual gradient, (R, k).
    """
    usual, own = fit(at, ridge)
    few = FEWEST <= directions_in(own) < FEW
    if not (few or (always and own.any())):
        return Evened(usual, None, few), own
    matrix = evening(own)
    return Evened(usual, matrix, few), np.asarray(own @ matrix)


def directions_in(features: Floats) -> float:
    """In how many directions features differ: ``(tr C)² / tr C²`` with ``C = mean_i φ_i φ_iᵀ``, an effective rank.

    ``tr C²`` is the mean of ``(φ_i · φ_j)²`` over two different examples of 200, spread evenly over the rows.

    Args:
        features: φ, (R, k).

    Returns:
        Infinite where no two examples have anything in common.
    """
    some = features[np.unique(np.linspace(0, len(features) - 1, ASKED).astype(np.int64))]
    products = np.asarray(some @ some.T, dtype=np.float64)
    squares = np.square(products[np.triu_indices(len(some), 1)])
    return float(np.diagonal(products).mean() ** 2 / squares.mean()) if squares.any() else np.inf


def evening(features: Floats) -> Floats:
    """W, (k, k), with which features become such that none of few directions drowns what groups differ in.

    ``W Wᵀ = s (C + λ)⁻¹`` with ``C = mean_i φ_i φ_iᵀ``, λ = tr C² / tr C, the variance along the directions that
    variance lies in, and s such that products of two features are as large as they were, in the mean square:
    ``tr (Wᵀ C W)² = tr C²``. Noise of a mean over a group lies in what all examples differ in: products with it say
    less of who belongs to the group than as many in a direction of the group's own.

    Args:
        features: φ, (R, k), not all zero.
    """
    moments = np.asarray(features.T @ features, dtype=np.float64) / len(features)
    squares = float(np.square(moments).sum())
    spread = squares / float(np.trace(moments)) * np.eye(len(moments))
    root = np.linalg.inv(np.linalg.cholesky(moments + spread))
    after = float(np.square(root @ moments @ root.T).sum())
    return np.asarray(root.T * (squares / after) ** 0.25, dtype=np.float32)

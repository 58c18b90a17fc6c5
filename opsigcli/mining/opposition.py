"""Which of very many examples belong to groups that oppose one another, from gradients at one checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.similarity import EACH, REFERENCES, Gradients, usual_cosine
from opsigcli.mining.usual_gradient import Usual, fit

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

NEAREST = 10  # references on either side of an example
BLOCK = 64  # references of which only the most extreme one counts
STRIP = 1 << 22  # cosines held at once


def directions(vectors: Floats) -> Floats:
    """Rows scaled to length 1, float32; a row that is zero or not finite is zero."""
    rows = np.array(vectors, dtype=np.float32)
    rows[~np.isfinite(rows).all(axis=1)] = 0
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def can_fit(references: int, outputs: int) -> bool:
    """Whether so many references are enough for the usual gradient of so many outputs."""
    return min(references, REFERENCES) >= EACH * outputs


def both_degrees(gradients: Floats, residuals: Floats) -> list[References]:
    """References by either similarity, of those that can be had.

    Beyond the usual gradient members of weak pairs are seen, and those of networks that pool; but pairs that are a
    tenth of all examples or more become usual themselves, and are seen in the cosines.
    """
    kinds = (False, True) if can_fit(len(gradients), residuals.shape[1]) else (False,)
    return [References(gradients, residuals, fitted=fitted) for fitted in kinds]


def either(degrees: Floats) -> Floats:
    """One degree (N,) for those by several similarities, (kinds, N): minus an example's better rank among all."""
    ranks = [np.argsort(np.argsort(-degree, kind="stable"), kind="stable") for degree in degrees]
    return np.asarray(-np.min(ranks, axis=0), dtype=np.float64)


class References:
    """R random examples that all others are held against, the more the smaller the groups that can be seen.

    Similarity is that of ``similarity.residual_adjusted_cosine`` at one checkpoint: the inner product of the features
    beyond the usual gradient of a residual; or the gradient cosine beyond a straight line,
    ``s_ij = cos(g_i, g_j) − a − b cos(δ_i, δ_j)``. Either is one inner product, and one matrix product holds a strip of
    examples against all references.

    Args:
        gradients: (R, k) gradient sketches per unit of output residual, in random order.
        residuals: (R, C) output residuals of length 1.
        fitted: beyond the usual gradient, to which R has to suffice (``can_fit``).
    """

    def __init__(self, gradients: Floats, residuals: Floats, *, fitted: bool) -> None:
        some = _at(gradients[:REFERENCES], residuals[:REFERENCES])
        self._usual: Usual | None = None
        self._level = np.float32(0)
        if fitted:
            self._usual, self._fitted = fit(some)
        else:
            unit = directions(some.sketch), some.residuals
            centres, levels = usual_cosine(*(np.asarray(part @ part.T) for part in unit))
            slope, level = np.polyfit(centres, levels, 1) if len(centres) > 1 else (0.0, float(levels.mean()))
            self._slope, self._level = np.float32(slope), np.float32(level)
        # Of equal blocks; what fills the last one up is orthogonal to all.
        self._width = max(1, min(BLOCK, len(gradients) // (8 * NEAREST)))
        rows = self._features(gradients, residuals, np.arange(len(gradients)))
        fill = np.zeros((-len(rows) % self._width, rows.shape[1]), dtype=rows.dtype)
        self._rows = np.concatenate([rows, fill])
        self._sketch = gradients.shape[1]

    def degree(self, gradients: Floats, residuals: Floats, own: Ints) -> Floats:
        """Opposition degree: minus the mean similarity of an example's surroundings to what opposes it, (B,).

        The surroundings are the ten references most similar to the example, what opposes it the ten least similar
        ones; only one in each block of 64 counts. For an example of an opposing group both come from the pair, and
        their hundred similarities say more than the example's own ten.

        Args:
            gradients: (B, k) per unit of output residual.
            residuals: (B, C) of length 1.
            own: (B,) number of the example among the references, −1 where it is none.
        """
        rows = self._signed(self._features(gradients, residuals, own))
        size = max(STRIP // len(self._rows), 1)
        found = [self._strip(rows[at : at + size], own[at : at + size]) for at in range(0, len(rows), size)]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def _features(self, gradients: Floats, residuals: Floats, own: Ints) -> Floats:
        """Rows whose inner products, once ``_signed``, are similarities; who was fitted to is left out of his fit."""
        if self._usual is None:
            return np.concatenate([directions(gradients), residuals], axis=1)
        rows = self._usual.features(_at(gradients, residuals))
        fitted = (own >= 0) & (own < len(self._fitted))
        rows[fitted] = self._fitted[own[fitted]]
        return rows

    def _strip(self, rows: Floats, own: Ints) -> Floats:
        similarity = rows @ self._rows.T - self._level
        known = np.flatnonzero(own >= 0)
        similarity[known, own[known]] = 0  # not its own surroundings
        blocks = similarity.reshape(len(rows), -1, self._width)
        near, opposed = (self._rows[self._most(blocks, sign)].mean(axis=1) for sign in (1, -1))
        return np.asarray(self._level - (self._signed(near) * opposed).sum(axis=1))

    def _most(self, blocks: Floats, sign: int) -> Ints:
        """Of the ten blocks with the largest extremes the references that hold those, (B, 10)."""
        extremes = -blocks.max(axis=2) if sign > 0 else blocks.min(axis=2)
        count = min(NEAREST, extremes.shape[1])
        which = np.argpartition(extremes, count - 1, axis=1)[:, :count]
        inside = np.take_along_axis(blocks, which[:, :, None], axis=1)
        within = inside.argmax(axis=2) if sign > 0 else inside.argmin(axis=2)
        return np.asarray(which * self._width + within)

    def _signed(self, rows: Floats) -> Floats:
        """The rows so that their product with others is the similarity but for its level."""
        if self._usual is not None:
            return rows
        signed = np.array(rows, dtype=np.float32)
        signed[:, self._sketch :] *= -self._slope
        return signed


def _at(gradients: Floats, residuals: Floats) -> Gradients:
    return Gradients(0, gradients, np.ones(len(gradients), dtype=np.float32), residuals)

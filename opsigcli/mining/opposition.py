"""Which of very many examples belong to groups that oppose one another, from gradients at few checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from opsigcli.mining.evened import FEW, directions_in
from opsigcli.mining.similarity import EACH, MANY, SOME
from opsigcli.mining.usual_cosine import usual_cosine
from opsigcli.mining.usual_gradient import REFERENCES, TINY, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

Kind = Literal["straight", "usual", "evened"]  # of similarity

NEAREST = 10  # references on either side of an example
BLOCK = 64  # references of which only the most extreme one counts
STRIP = 1 << 22  # cosines held at once


def directions(vectors: Floats) -> Floats:
    """Rows scaled to length 1, float32; a row that is zero or not finite is zero."""
    rows = np.array(vectors, dtype=np.float32)
    rows[~np.isfinite(rows).all(axis=1)] = 0
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def can_fit(references: int, outputs: int, each: int = EACH) -> bool:
    """Whether so many references are enough for the usual gradient of so many outputs."""
    return min(references, REFERENCES) >= each * outputs


def all_degrees(at: Sequence[Gradients]) -> list[References]:
    """References by each similarity that can be had of them.

    Beyond the usual gradient members of weak pairs are seen, and those of networks that pool; but pairs that are a
    tenth of all examples or more become usual themselves, and are seen in the cosines. Evened features show what few
    share beside what all differ in. Where gradients differ in fewer than 20 directions at some checkpoint, as in
    networks that pool, these are often those of the pairs, which features as they are show. Of more than 14 outputs a
    class has few references: cosines show groups that are much of it, and features those that are little of it.
    """
    references, outputs = at[0].residuals.shape
    kinds: tuple[Kind, ...] = ("straight",)
    if outputs >= MANY and can_fit(references, outputs, SOME):
        kinds = ("straight", "usual")
    if can_fit(references, outputs):
        few = any(directions_in(fit(each.only(slice(REFERENCES)))[1]) < FEW for each in at)
        kinds = ("straight", "usual", "evened") if few else ("straight", "evened")
    return [References(at, kind) for kind in kinds]


def either(degrees: Floats) -> Floats:
    """One degree (N,) for those by several similarities, (kinds, N): minus an example's best rank among all."""
    ranks = [np.argsort(np.argsort(-degree, kind="stable"), kind="stable") for degree in degrees]
    return np.asarray(-np.min(ranks, axis=0), dtype=np.float64)


class References:
    """R random examples that all others are held against, the more the smaller the groups that can be seen.

    Similarity is averaged over a few checkpoints: the inner product of the features beyond the usual gradient of a
    residual, as in ``similarity.residual_adjusted_cosine`` (``usual``), or of such features of which all differ alike
    along every direction (``evened``, by ``damping``); or the gradient cosine beyond a straight line,
    ``s_ij = cos(g_i, g_j) − a − b cos(δ_i, δ_j)`` (``straight``). Each is one inner product, and one matrix product
    holds a strip of examples against all references.

    Args:
        at: gradients per unit of output residual, and residuals of length 1, of the R examples in random order, one
            for each checkpoint.
        kind: of similarity; for all but ``straight`` R has to suffice (``can_fit``).
    """

    def __init__(self, at: Sequence[Gradients], kind: Kind) -> None:
        kinds: dict[Kind, type[_Straight | _Usual]]
        kinds = {"straight": _Straight, "usual": _Usual, "evened": _Evened}
        self._kinds = [kinds[kind](each) for each in at]
        # Of equal blocks; what fills the last one up is orthogonal to all.
        count = len(at[0].sketch)
        self._width = max(1, min(BLOCK, count // (8 * NEAREST)))
        rows = self._features(at, np.arange(count))
        fill = np.zeros((-len(rows) % self._width, rows.shape[1]), dtype=rows.dtype)
        self._rows = np.concatenate([rows, fill])
        # Rows, once multiplied with these, have similarities for inner products, but for their level.
        self._signs = np.concatenate([kind.signs(each) for kind, each in zip(self._kinds, at, strict=True)])
        self._level = np.float32(np.mean([kind.level for kind in self._kinds]))

    def degree(self, at: Sequence[Gradients], own: Ints) -> Floats:
        """Opposition degree: minus the mean similarity of an example's surroundings to what opposes it, (B,).

        The surroundings are the ten references most similar to the example, what opposes it the ten least similar
        ones; only one in each block of 64 counts. For an example of an opposing group both come from the pair, and
        their hundred similarities say more than the example's own ten.

        Args:
            at: of B examples, as those of the references.
            own: (B,) number of the example among the references, −1 where it is none.
        """
        rows = self._features(at, own) * self._signs
        size = max(STRIP // len(self._rows), 1)
        found = [self._strip(rows[i : i + size], own[i : i + size]) for i in range(0, len(rows), size)]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def _features(self, at: Sequence[Gradients], own: Ints) -> Floats:
        rows = [kind.features(each, own) for kind, each in zip(self._kinds, at, strict=True)]
        return np.asarray(np.concatenate(rows, axis=1) / np.sqrt(np.float32(len(rows))))

    def _strip(self, rows: Floats, own: Ints) -> Floats:
        similarity = rows @ self._rows.T - self._level
        known = np.flatnonzero(own >= 0)
        similarity[known, own[known]] = 0  # not its own surroundings
        blocks = similarity.reshape(len(rows), -1, self._width)
        near, opposed = (self._rows[self._most(blocks, sign)].mean(axis=1) for sign in (1, -1))
        return np.asarray(self._level - (near * self._signs * opposed).sum(axis=1))

    def _most(self, blocks: Floats, sign: int) -> Ints:
        """Of the ten blocks with the largest extremes the references that hold those, (B, 10)."""
        extremes = -blocks.max(axis=2) if sign > 0 else blocks.min(axis=2)
        count = min(NEAREST, extremes.shape[1])
        which = np.argpartition(extremes, count - 1, axis=1)[:, :count]
        inside = np.take_along_axis(blocks, which[:, :, None], axis=1)
        within = inside.argmax(axis=2) if sign > 0 else inside.argmin(axis=2)
        return np.asarray(which * self._width + within)


def damping(features: Floats) -> Floats:
    """What features are multiplied with so that they differ about as much along every direction, (k, k).

    ``√λ (C + λ)^{−1/2}`` with ``C = mean_i φ_i φ_iᵀ`` and λ the mean of its eigenvalues: directions of less than λ stay
    as they are. Where all examples differ in a few directions much more than in others, those that lie far out along
    them would be nearest to an example by chance, before the few that share a rare feature with it.

    Args:
        features: φ, (R, k).
    """
    values, axes = np.linalg.eigh(features.T @ features / len(features))
    values = np.maximum(values, 0)
    usual = max(float(values.mean()), TINY)
    return np.asarray(axes * np.sqrt(usual / (values + usual)) @ axes.T, dtype=np.float32)


class _Usual:
    """Features beyond the usual gradient at one checkpoint."""

    level = 0.0

    def __init__(self, at: Gradients) -> None:
        self._usual, self._own = fit(at.only(slice(REFERENCES)))

    def features(self, at: Gradients, own: Ints) -> Floats:
        """Of B examples, (B, k); a reference that was fitted to is left out of its fit."""
        rows = self._usual.features(at)
        fitted = (own >= 0) & (own < len(self._own))
        rows[fitted] = self._own[own[fitted]]
        return rows

    def signs(self, at: Gradients) -> Floats:
        """(k,)."""
        return np.ones(at.sketch.shape[1], dtype=np.float32)


class _Evened(_Usual):
    """The same, evened."""

    def __init__(self, at: Gradients) -> None:
        super().__init__(at)
        self._damping = damping(super().features(at, np.arange(len(at.sketch))))

    def features(self, at: Gradients, own: Ints) -> Floats:
        """Of B examples, (B, k)."""
        return np.asarray(super().features(at, own) @ self._damping)


class _Straight:
    """Directions of gradients and residuals at one checkpoint, and the line of the ones in the others."""

    def __init__(self, at: Gradients) -> None:
        some = at.only(slice(REFERENCES))
        unit = directions(some.sketch), some.residuals
        centres, levels = usual_cosine(*(np.asarray(part @ part.T) for part in unit))
        slope, level = np.polyfit(centres, levels, 1) if len(centres) > 1 else (0.0, float(levels.mean()))
        self._slope, self.level = float(slope), float(level)

    def features(self, at: Gradients, own: Ints) -> Floats:
        """Of B examples, (B, k + C)."""
        return np.concatenate([directions(at.sketch), at.residuals], axis=1)

    def signs(self, at: Gradients) -> Floats:
        """(k + C,)."""
        parts = np.ones(at.sketch.shape[1]), np.full(at.residuals.shape[1], -self._slope)
        return np.concatenate(parts).astype(np.float32)

"""Large groups: examples, up to a third of all, that have another usual gradient than the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.similarity import EACH, residual_adjusted_cosine
from opsigcli.mining.usual_gradient import REFERENCES, RIDGE, TINY, per_residual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Mask = NDArray[np.bool_]

STARTS = 6  # of the two fits, from the surroundings of that many random examples
SHARE = 2 / 3  # of the examples are not in the minority when fitting starts
ROUNDS = 12
FEWEST = 10  # examples that a gradient is fitted to
HIGHEST = 0.9  # share of its own fit that is taken out of an example's remainder
LARGE = 0.1  # of the rows, in a pair: smaller ones hardly move a robust fit
AGAIN = 3  # times that members are left out and looked for anew
SAME = 0.8  # of the members of either, in pairs found one after the other


class _Checkpoint(NamedTuple):
    """Directions of output residuals, and inner products of the gradients per unit of residual."""

    direction: Floats  # (R, C)
    products: Floats  # (R, R)


def large_groups(gradients: Sequence[Gradients], seed: int = 0, among: Ints | None = None) -> Ints:
    """Members of pairs so large that a fit to all examples takes them for usual.

    The usual gradient is fitted without the ``minority``, pairs are sought, and both again without the members of the
    large ones, until these are the same: nobody is held against a fit to his own group. Only pairs that then stand
    apart count: what classes do to one another goes on beyond those left out.

    Args:
        gradients: of the same M candidates at each checkpoint compared.
        seed: of the references, as of ``similarity.residual_adjusted_cosine``.
        among: rows that stand for all examples (default: all rows).

    Returns:
        Increasing rows; () where there are none, or too few others to fit a gradient to.
    """
    none: Ints = np.zeros(0, dtype=np.int64)
    m, outputs = gradients[0].residuals.shape
    rows = np.arange(m) if among is None else among
    some = np.sort(np.random.default_rng(seed).permutation(rows)[:REFERENCES])
    if min(SHARE * len(rows), len(some)) < EACH * outputs:
        return none
    apart = some[minority([at.only(some) for at in gradients], np.random.default_rng(seed))]
    for _ in range(AGAIN):
        others = np.setdiff1d(rows, apart)
        if len(apart) == 0 or len(others) < EACH * outputs:
            return none
        similarity = residual_adjusted_cosine(gradients, seed, others)
        pairs = [pair for pair in fixed_point_pairs(similarity) if sum(map(len, pair)) >= LARGE * m]
        found = np.sort(np.concatenate([none, *(side for pair in pairs for side in pair)]))
        if len(np.intersect1d(found, apart)) >= SAME * max(len(found), len(apart)):
            alone = [side for pair in pairs if stands_apart(similarity, pair) for side in pair]
            return np.sort(np.concatenate([none, *alone]))
        apart = found
    return none


def minority(gradients: Sequence[Gradients], rng: np.random.Generator) -> Mask:
    """Which examples follow another usual gradient than most: of two fits the one that fewer are nearer to.

    ``Σ_t ‖(g_i − B_cᵀδ_i) / ‖δ_i‖‖²``, summed over checkpoints, each in units of its median ``‖g_i / ‖δ_i‖‖²``, is made
    small over the fits ``B_1, B_2`` and over which of them each example is held against, in turns. A robust fit
    follows groups of a tenth of all on a side: they are most of those with residuals like theirs. That they
    differ from all others is seen by holding both against one another.

    Args:
        gradients: of the same R examples at each checkpoint compared.
        rng: draws the examples that the fits start from.

    Returns:
        (R,), at most half of them.

    Reference:
        Späth 1979, Algorithm 39: clusterwise linear regression.
    """
    points = list(side_by_side(_checkpoint, gradients))
    inside = _starts(points, rng)
    left, going = np.zeros(len(inside)), np.arange(len(inside))  # who has settled is fitted no more
    for done in range(ROUNDS + 1):
        few, most = _left_in_all(points, inside[going])
        left[going] = np.minimum(few, most).sum(axis=1)
        nearer = few < most
        nearer[nearer.mean(axis=1) > 0.5] ^= True
        moved = (nearer.sum(axis=1) >= FEWEST) & (nearer ^ inside[going]).any(axis=1)
        if done == ROUNDS or not moved.any():
            break
        going = going[moved]
        inside[going] = nearer[moved]
    return np.asarray(inside[int(np.argmin(left))])


def _checkpoint(at: Gradients) -> _Checkpoint:
    direction, per_unit = per_residual(at)
    products = per_unit @ per_unit.T
    return _Checkpoint(direction, products / max(float(np.median(np.diagonal(products))), TINY))


def _starts(points: Sequence[_Checkpoint], rng: np.random.Generator) -> Mask:
    """The third with the largest gradients per unit of residual; and those most like each of some examples, (S, R)."""
    rows = rng.permutation(len(points[0].direction))[:STARTS]
    values = np.zeros((1 + len(rows), len(points[0].direction)), dtype=np.float32)
    for at in points:
        size = np.diagonal(at.products)
        values[0] += size
        lengths = np.sqrt(np.maximum(np.outer(size[rows], size), TINY))
        values[1:] += at.products[rows] / lengths * np.sign(at.direction[rows] @ at.direction.T)
    return np.asarray(values > np.quantile(values, SHARE, axis=1)[:, None])


def _left_in_all(points: Sequence[_Checkpoint], inside: Mask) -> Floats:
    """Sums over checkpoints, beyond fits to those inside and to the others, (2, S, R)."""
    share = inside.astype(np.float32)
    return np.asarray(np.sum(list(side_by_side(lambda at: _left(at, share), points)), axis=0))


def _left(at: _Checkpoint, inside: Floats) -> Floats:
    """Squared remainders of all examples beyond fits to some (S, R) and to all others, each left out of its own fit."""
    direction, products = at.direction.T, at.products
    some = direction * inside[:, None]  # (S, C, R)
    near = (some.reshape(-1, len(products)) @ products).reshape(some.shape)
    # Sums over the others are what is left of those over all.
    some = np.concatenate([some, direction - some])
    near = np.concatenate([near, direction @ products - near])
    inverse = np.linalg.inv(some @ direction.T + np.float32(RIDGE) * np.eye(len(direction), dtype=np.float32))
    with_fit = inverse @ near  # B g_i: B is the weighted sum of gradients
    between = with_fit @ (inverse @ some).transpose(0, 2, 1)  # B Bᵀ
    leverage = _form(inverse @ direction, direction) * np.concatenate([inside, 1 - inside])
    squares = np.diagonal(products) - 2 * _form(with_fit, direction) + _form(between @ direction, direction)
    left = np.maximum(squares, 0) / (1 - np.minimum(leverage, HIGHEST)) ** 2
    return np.asarray(left.reshape(2, *inside.shape))


def _form(first: Floats, second: Floats) -> Floats:
    """Inner product of each column (S, C, R) with that of ``second`` (C, R), (S, R)."""
    return np.asarray(np.einsum("scr,cr->sr", first, second))

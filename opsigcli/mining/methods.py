"""The ways to find pairs, by name. Each maps a ``Search`` to the two sides of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.loss_pca import oscillating_pairs, tail_sides
from opsigcli.mining.search import losses_alone, top_rule
from opsigcli.mining.simple import SMALLEST, part, simple

if TYPE_CHECKING:
    from opsigcli.mining.search import Search
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

NEEDS_GRADIENTS = ("full", "simple", "eigen")
COSINES = (
    1.75  # times a similarity of features, which are shorter than 1: the bars of ``simple`` are of cosines
)
NEEDS_SWINGS = ("full", "eigen")  # whose pairs are asked what the loss does along their direction
TELL_APART = ("full",)  # where candidates were chosen out of more, pairs alike
NEEDS_PARTS = ("eigen",)  # of the loss deltas along the Hessian's top eigenvectors


def by_full(search: Search) -> list[Sides]:
    """``fixed_point.fixed_point_pairs``, and beside them ``loss_pca.oscillating_pairs``."""
    similarity = _similarity(search)
    pairs = fixed_point_pairs(similarity)
    pairs = part(similarity, pairs + oscillating_pairs(search, pairs))
    return [pair for pair in pairs if min(map(len, pair)) >= SMALLEST]


def by_simple(search: Search) -> list[Sides]:
    """``simple.simple``."""
    return simple(COSINES * _similarity(search))


def by_eigen(search: Search) -> list[Sides]:
    """``fixed_point_pairs`` from groups that an eigenvector moves most, and against one another.

    Parts of loss deltas along one eigenvector propose, gradients decide: where parts alone decided, groups of several
    pairs that one eigenvector moves in the same phase would be one.
    """
    similarity = _similarity(search)
    parts = () if search.parts is None else search.parts
    starts = [sides for part_of in parts for sides in tail_sides(part_of, similarity)]
    return fixed_point_pairs(similarity, starts)


def by_top(search: Search) -> list[Sides]:
    """``search.top_rule``."""
    return top_rule(search)


def by_losses(search: Search) -> list[Sides]:
    """``search.losses_alone``."""
    return losses_alone(search)


def _similarity(search: Search) -> Floats:
    assert search.similarity is not None, "the caller seeks pairs by gradients only where it has gradients"
    return search.similarity

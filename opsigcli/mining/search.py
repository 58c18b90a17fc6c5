"""What a method for finding pairs may look at, and the methods that look at losses alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import simple
from opsigcli.mining.top import largest
from opsigcli.mining.trace_stats import first_step

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

PAPER_STEPS = 5  # of the largest change of the mean loss
PAPER_EXAMPLES = 20  # on each side
ENERGETIC = 500  # examples whose loss series are compared


@dataclass(frozen=True)
class Search:
    """Rows of M candidates; what was not measured is None."""

    similarity: Floats | None  # (M, M) gradient similarity, zero diagonal
    deltas: Floats  # (T−1, M) loss deltas
    high_passed: Floats  # (T−1, M) high-passed loss deltas
    energy: Floats  # (M,) of the high-passed deltas
    weights: Floats | None = None  # (M,) how many of all examples each row stands for
    steps: tuple[
        int, ...
    ] = ()  # loss deltas that a compared checkpoint begins or ends; evidence holds out the rest
    parts: Floats | None = None  # (J, M) parts of loss deltas, each along one eigenvector of the Hessian

    def only(self, rows: Ints, similarity: Floats) -> Search:
        """The same of some candidates, with another similarity (R, R) of theirs."""
        weights = None if self.weights is None else self.weights[rows]
        deltas, high_passed = self.deltas[:, rows], self.high_passed[:, rows]
        parts = None if self.parts is None else self.parts[:, rows]
        return Search(similarity, deltas, high_passed, self.energy[rows], weights, self.steps, parts)


def top_rule(search: Search) -> list[Sides]:
    """The 20 examples whose loss rose most against the 20 whose loss fell most, at five steps.

    The steps are those with the largest change of the mean loss. A later step that shares half of its examples
    with an earlier one is the same pair.

    Reference:
        Rosenfeld & Risteski 2023, arXiv 2311.04163, section 2.
    """
    deltas, rows = search.deltas, np.arange(search.deltas.shape[1])
    change = np.abs(np.nan_to_num(deltas.mean(axis=1)))
    change[: first_step(len(change))] = 0
    k = min(PAPER_EXAMPLES, len(rows) // 2)
    found: list[Sides] = []
    for step in np.argsort(-change, kind="stable")[:PAPER_STEPS]:
        sides = np.sort(largest(deltas[step], k, rows)), np.sort(largest(-deltas[step], k, rows))
        members = np.concatenate(sides)
        if k and change[step] > 0 and all(len(np.intersect1d(members, old)) < k for old in map(_both, found)):
            found.append(sides)
    return found


def losses_alone(search: Search) -> list[Sides]:
    """The simple recipe on the correlation of high-passed loss deltas, for when no model is at hand.

    Correlations mix all pairs that swing in the same phase: whatever rises together is one group. Members with
    little swing are missed.
    """
    order = np.sort(np.argsort(-search.energy, kind="stable")[:ENERGETIC])
    high_passed = search.high_passed[first_step(len(search.high_passed)) :, order]
    high_passed = high_passed[np.isfinite(high_passed).all(axis=1)]
    if len(high_passed) < 3:
        return []
    centred = high_passed - high_passed.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    correlation = np.asarray(unit.T @ unit, dtype=np.float32)
    np.fill_diagonal(correlation, 0)
    return [(order[a], order[b]) for a, b in simple(correlation)]


def _both(sides: Sides) -> Ints:
    return np.concatenate(sides)

"""Where else pairs may be looked for: in the directions of the oscillation, as the losses show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.outliers import separation
from opsigcli.mining.proposals import OPPOSED, OVERLAP, Proposal
from opsigcli.mining.simple import SMALLEST, closeness, linkage_groups
from opsigcli.mining.verdict import CONCENTRATED

if TYPE_CHECKING:
    from opsigcli.mining.search import Search
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

COMPONENTS = 3
LEAST = 0.05  # of the energy, for a component to be looked at
TAIL = 0.2  # of the examples: those with the largest entries of a component
CUT = 0.9  # of average linkage


def oscillating_sides(high_passed: Floats, similarity: Floats) -> list[Sides]:
    """Opposed groups among the examples that a principal component of the high-passed loss deltas moves most.

    A principal component v of the high-passed loss deltas is a direction in which losses swing together; one direction
    carries several pairs. Of the fifth of the examples with the largest ``|v_i|`` those of one sign are
    grouped by their gradients (average linkage on 1 − S), and each group has the most opposed group of the other
    sign as its partner. Losses propose, gradients decide.

    Args:
        high_passed: (R, M) high-passed loss deltas; steps with unmeasured entries are left out.
        similarity: S, (M, M), zero diagonal.

    Returns:
        Row indices of two sides each, to be refined; a group may be in several.
    """
    rows = high_passed[np.isfinite(high_passed).all(axis=1)].astype(np.float64)
    m = rows.shape[1]
    if len(rows) < 3 or m < 4 * SMALLEST or not rows.any():
        return []
    values, vectors = np.linalg.eigh(rows @ rows.T)
    found: list[Sides] = []
    for at in np.argsort(-values)[:COMPONENTS]:
        if values[at] < LEAST * values.sum():
            break
        found += tail_sides(vectors[:, at] @ rows, similarity)
    return found


def tail_sides(component: Floats, similarity: Floats) -> list[Sides]:
    """Opposed groups among the fifth of the examples with the largest entries of a component (M,), of either sign."""
    most = np.argsort(-np.abs(component), kind="stable")[: max(4 * SMALLEST, int(TAIL * len(component)))]
    up, down = (np.sort(most[component[most] * sign > 0]) for sign in (1, -1))
    return _partners(similarity, *(_groups(similarity, side) for side in (up, down)))


def oscillating_pairs(search: Search, known: list[Sides]) -> list[Sides]:
    """Pairs of ``oscillating_sides`` that a search by gradients alone passed over.

    Only loss deltas that a compared checkpoint begins or ends are looked at: the others stay held out. The pairs hold
    more of the loss deltas for their number, and are asked for as much opposition and cohesion as others; the most
    energetic come first, and none shares half of its members with a pair before it.

    Args:
        search: what is known of the candidates.
        known: pairs found already.
    """
    similarity = search.similarity
    assert similarity is not None, "groups are made by gradients"
    weights = np.ones(len(similarity)) if search.weights is None else search.weights
    taken = np.zeros(len(similarity), dtype=bool)
    for sides in known:
        taken[np.concatenate(sides)] = True
    energy = search.energy
    usual = float(energy @ weights) / float(weights.sum())
    proposals = [
        _proposal(similarity, sides)
        for sides in oscillating_sides(search.high_passed[list(search.steps)], similarity)
    ]
    found = []
    for proposal in sorted(proposals, key=lambda p: -float(energy[p.members].mean())):
        members = proposal.members
        if not proposal.holds or taken[members].mean() >= OVERLAP:
            continue
        if float(energy[members].mean()) <= CONCENTRATED * usual:
            break
        taken[members] = True
        found.append(proposal.sides)
    return found


def _proposal(similarity: Floats, sides: Sides) -> Proposal:
    first, second = (float(closeness(similarity, side)[side].mean()) for side in sides)
    opposition = -float(similarity[np.ix_(*sides)].mean())
    return Proposal(sides, opposition, (first, second), separation(similarity, sides))


def _groups(similarity: Floats, rows: Ints) -> list[Ints]:
    return [rows[group] for group in linkage_groups(similarity[np.ix_(rows, rows)], CUT)]


def _partners(similarity: Floats, first: list[Ints], second: list[Ints]) -> list[Sides]:
    """Every group of either list with its most opposed group of the other, where that is opposed enough."""
    if not first or not second:
        return []
    between = np.array([[-similarity[np.ix_(a, b)].mean() for b in second] for a in first])
    chosen = {(a, int(between[a].argmax())) for a in range(len(first))}
    chosen |= {(int(between[:, b].argmax()), b) for b in range(len(second))}
    return [(first[a], second[b]) for a, b in sorted(chosen) if between[a, b] > OPPOSED]

"""How much the two groups oppose one another, and whether they stand apart from everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import NULL, SOUGHT, Kind, Matched, beside_null
from opsigcli.mining.outliers import reached, separation
from opsigcli.mining.proposals import ROUNDS
from opsigcli.mining.simple import SMALLEST, closeness, refine
from opsigcli.mining.surrogate import clear, p_after_selection
from opsigcli.mining.verdict import APART, COHERENT
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints


AGAIN = 19  # random pairs that are refined again


def _opposition(pair: Matched) -> Evidence:
    return beside_null(-(pair.nearness[0] * pair.averages[1]).sum(axis=1))


def _cohesion(pair: Matched) -> Evidence:
    own = (
        np.take_along_axis(near, rows, axis=1).mean(axis=1)
        for near, rows in zip(pair.nearest, pair.groups, strict=True)
    )
    return beside_null(np.minimum(*own))


def _by_class(pair: Matched) -> Evidence:
    """Share of the variance of the contrast of all candidates that lies between classes."""
    first, second = (closeness(pair.similarity, side) for side in pair.pair.sides)
    contrast, labels = first - second, pair.material.labels
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.bincount(classes)
    means = np.bincount(classes, contrast) / counts
    whole = float(contrast.var())
    between = float((counts * np.square(means - contrast.mean())).sum() / len(labels))
    return Evidence(between / whole if whole > 0 else 0.0, (len(counts) - 1) / max(len(labels) - 1, 1))


def _separation(pair: Matched) -> Evidence:
    """How far the members' contrast lies outside the bulk of everybody else's."""
    contrasts = pair.nearest[0] - pair.nearness[1], pair.nearest[1] - pair.nearness[0]
    inside = np.zeros(contrasts[0].shape, dtype=bool)
    for side in pair.groups:
        np.put_along_axis(inside, side, True, axis=1)
    own = [np.take_along_axis(lean, side, axis=1) for lean, side in zip(contrasts, pair.groups, strict=True)]
    low = np.quantile(np.concatenate(own, axis=1), 0.1, axis=1)
    lean, labels, left_out = np.maximum(*contrasts), pair.material.labels, pair.pair.left_out
    alike = np.isin(labels, labels[np.concatenate(pair.pair.sides)])  # those drawn have the same labels
    weights = pair.material.candidates.weights

    def of_others(rows: slice) -> Floats:
        """What they reach, of rows in which they are as many."""
        counted = ~inside[rows] if left_out is None else ~inside[rows] & ~left_out
        some = lean[rows][counted].reshape(len(counted), -1)
        near = np.broadcast_to(alike, counted.shape)[counted].reshape(some.shape)
        each = None
        if weights is not None:
            each = np.broadcast_to(weights, counted.shape)[counted].reshape(some.shape)
        return reached(some, near, pair.size, pair.material.examples, each)

    apart = left_out is not None  # random groups hold more or fewer of those left out
    rows = [slice(r, r + 1) for r in range(len(inside))] if apart else [slice(None)]
    bulk = np.concatenate([of_others(some) for some in rows])
    return beside_null(low / np.maximum(bulk, 1e-3))


def _replication(pair: Matched) -> Evidence | None:
    halves = pair.material.halves
    if halves is None:
        return None
    groups = list(zip(*pair.groups, strict=True))[: 1 + AGAIN]
    found = [min(_elsewhere(sides, *halves), _elsewhere(sides, *halves[::-1])) for sides in groups]
    return beside_null(np.array(found))


def _elsewhere(sides: tuple[Ints, Ints], seen: Floats, other: Floats) -> float:
    """Separation in one similarity of the groups as another one refines them."""
    for _ in range(ROUNDS):
        sides = refine(seen, sides)
    return separation(other, sides) if min(map(len, sides)) >= SMALLEST else 0.0


def clarity_by_chance(pair: Matched) -> Evidence | None:
    """The pair's clarity beside that of the clearest pair of each surrogate; None without surrogates."""
    by_chance = pair.material.by_chance
    if not len(by_chance):
        return None
    first, second = (np.sort(rows) for rows in pair.pair.sides)
    material = pair.material
    chosen = material.candidates.weights is not None
    how = clear(pair.similarity, (first, second), material.labels, pair.pair.left_out, chosen=chosen)
    count = material.settings.surrogates
    p_value = p_after_selection(how, by_chance, count)
    if len(material.rotations):
        as_all = clear(pair.similarity, (first, second), material.labels, chosen=False)
        p_value = max(p_value, p_after_selection(as_all, material.rotations, count))
    return Evidence(how, float(by_chance.mean()), p_value)


OPPOSITION = Kind.number(
    "opposition",
    "minus the mean similarity between the two groups' gradients (--similarity; adjusted: of what they have beyond "
    "what their output residuals alone explain, as opsig-evidence(7) defines it), averaged over the checkpoints "
    f"compared ({NULL}, mean; {SOUGHT}).",
    _opposition,
)
SEPARATION = Kind.number(
    "separation",
    "10 % quantile of the members' contrast (mean similarity of gradients to the own group minus "
    "that to the other) over the 98 % quantile of its size in all other candidates, or in those with the members' "
    "labels, whichever is larger (those drawn at random count for all that are no candidates); of a pair with less "
    "than 2 % of all examples what a tenth as many of the latter reach as it has members takes the place of their "
    "quantile, and where candidates were chosen, members of pairs that are told from it are none of the others; "
    f"above {APART} "
    f"and with a cohesion above {COHERENT} the groups stand apart, else they are tails of one continuous axis "
    f"({NULL}, mean; {SOUGHT}).",
    _separation,
)
COHESION = Kind.number(
    "cohesion",
    f"mean similarity of the gradients of two members of one group, the smaller of both "
    f"({NULL}, mean; {SOUGHT}).",
    _cohesion,
)
BY_CLASS = Kind.number(
    "contrast_by_class",
    "share of the variance of all candidates' contrast, that lies between classes (null: classes "
    "less one over candidates less one, the mean where labels say nothing).",
    _by_class,
)
REPLICATION = Kind.number(
    "replication",
    "separation at one half of the checkpoints compared, every other one, of the groups as the other half refines "
    f"them from the pair's members in {ROUNDS} rounds; of both ways round the smaller (0 where a group falls below "
    f"{SMALLEST} examples; null: {AGAIN} draws of random candidates of the same labels and sizes, mean; {SOUGHT}).",
    _replication,
)
CLARITY = Kind.number(
    "clarity",
    "opposition times separation (at most 1.5) of the pair (null: the same for "
    "the clearest pair found by the same search in this run's gradient similarities after a random rotation within "
    "each class, which keeps class means and covariances and destroys clusters; mean; p: share of rotations at least "
    "as clear, which accounts for the search: among runs without pairs a share of at most p has any pair this clear). "
    "Where candidates were chosen out of more examples: separation as of a pair with less than 2 % of all, "
    "and mixtures of each two examples of a class, which keep tails as well, for rotations; where a pair would be a "
    "finding so, p is the larger one of this and that of opposition times separation among rotations.",
    clarity_by_chance,
)

"""Whether a pair is found again: the same search in halves of what was compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.similarity import Gradients, gradient_similarity
from opsigcli.mining.simple import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.inputs import Candidates, Settings
    from opsigcli.mining.similarity import Known
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

HALVED = ("checkpoints", "dimensions", "candidates")
OF_PROPOSALS = (
    "checkpoints",
    "candidates",
)  # dimensions take as long as both, and are asked where it matters
DRAWS = 4  # halves of each kind


class Half(NamedTuple):
    """What the search finds in half of what was compared."""

    halved: str  # one of HALVED
    rows: Ints  # (M',) candidates that were looked at, increasing
    pairs: list[Sides]  # rows of the M candidates


def searched_in_halves(
    candidates: Candidates,
    labels: Ints,
    settings: Settings,
    search: Callable[[Floats, Ints], list[Sides]],
    known: Known | None = None,
    kinds: Sequence[str] = HALVED,
) -> list[Half]:
    """The pairs that are found in random halves of the checkpoints compared, of sketch dimensions, of candidates.

    Half-sampling moves a mean as a bootstrap does, at half the cost.

    Args:
        candidates: M of them, with gradients.
        labels: (M,).
        settings: similarity and seed.
        search: similarity (M', M') and rows (M',) to pairs, as indices into the rows.
        known: as of ``similarity.residual_adjusted_cosine``, of all candidates.
        kinds: of HALVED.

    Returns:
        Four halves of each kind; of one checkpoint there is no half.
    """
    drawn = [
        (halved, number)
        for halved in kinds
        for number in range(DRAWS)
        if halved != "checkpoints" or len(candidates.gradients) > 1
    ]

    def one(which: tuple[str, int]) -> Half:
        halved, number = which
        rng = np.random.default_rng([settings.seed, HALVED.index(halved), number])
        kept = np.ones(len(labels), dtype=bool)
        if halved == "candidates":
            kept[rng.permutation(len(labels))[: len(labels) // 2]] = False
        rows, some = np.flatnonzero(kept), candidates.only(kept)
        similarity = gradient_similarity(
            _halved(some.gradients, halved, rng),
            labels[rows],
            settings.similarity,
            settings.seed,
            some.among,
            known=known if halved == "checkpoints" else None,
        )
        return Half(halved, rows, [(rows[a], rows[b]) for a, b in search(similarity, rows)])

    return list(side_by_side(one, drawn))


def recovery_in(half: Half, sides: Sides) -> float | None:
    """How much of a pair one half finds again: the largest Jaccard index of its members and those of a pair there.

    ``(|A ∩ A'| + |B ∩ B'|) / (|A ∪ A'| + |B ∪ B'|)`` with A, B the members among the candidates of the half, and
    either side of the other pair as A'.

    Returns:
        0 where nothing was found; None where the half has fewer than 5 members of a side, so that it cannot be asked.
    """
    whole = np.zeros(max(int(rows.max(initial=0)) for rows in (*sides, half.rows)) + 1, dtype=np.int8)
    whole[sides[0]], whole[sides[1]] = 1, 2
    side = np.zeros_like(whole)
    side[half.rows] = whole[half.rows]
    sizes = np.bincount(side, minlength=3)[1:]
    if sizes.min() < SMALLEST:
        return None
    return max((_jaccard(side, int(sizes.sum()), pair) for pair in half.pairs), default=0.0)


def recovered(halves: Sequence[Half], halved: str, sides: Sides) -> float | None:
    """Mean ``recovery_in`` over the halves of one kind; None where none can be asked."""
    found = [recovery_in(half, sides) for half in halves if half.halved == halved]
    asked = [each for each in found if each is not None]
    return float(np.mean(asked)) if asked else None


def _jaccard(side: NDArray[np.int8], size: int, pair: Sides) -> float:
    """Of the ``size`` that are on side 1 or 2, and a pair found there, either way round."""
    (one, other), (two, another) = ([(side[rows] == n).sum() for rows in pair] for n in (1, 2))
    common = max(one + another, other + two)
    return float(common / (size + sum(map(len, pair)) - common))


def _halved(gradients: Sequence[Gradients], halved: str, rng: np.random.Generator) -> Sequence[Gradients]:
    if halved == "checkpoints":
        chosen = np.sort(rng.permutation(len(gradients))[: len(gradients) // 2])
        return [gradients[at] for at in chosen]
    if halved == "dimensions":
        k = gradients[0].sketch.shape[1]
        columns = np.sort(rng.permutation(k)[: max(k // 2, 1)])
        return [at._replace(sketch=at.sketch[:, columns]) for at in gradients]
    return gradients

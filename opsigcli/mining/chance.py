"""What the search finds by chance, of as many surrogates as the run's pairs hang on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.parts import parts
from opsigcli.mining.surrogate import clear, clearest_by_chance, p_after_selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.inputs import Keep, Settings
    from opsigcli.progress import Progress
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

NONE: Floats = np.zeros(0)


class Chance(NamedTuple):
    """How clear the clearest pair of each surrogate is, and whether some pair of the run may be a finding."""

    surrogates: Floats = NONE  # rotations; mixtures where candidates were chosen out of more
    rotations: Floats = NONE  # beside mixtures, where some pair would be a finding by these
    findable: bool = False


def by_chance(
    similarity: Floats,
    labels: Ints,
    pairs: Sequence[Sides],
    settings: Settings,
    chosen_of: int,
    progress: Progress,
    keep: Keep,
    weights: Floats | None = None,
    left_out: Sequence[NDArray[np.bool_] | None] = (),
) -> Chance:
    """The surrogates that the pairs are held against.

    Where candidates were chosen a finding has to be one by mixtures and by rotations: mixtures leave no groups, and so
    nothing as far apart as the small groups that there are of words or of places of a picture; rotations have them.

    Args:
        similarity: S, (M, M), zero diagonal.
        labels: (M,).
        pairs: of the run.
        settings: surrogates, seed, and the rate that findings pass.
        chosen_of: N where candidates were chosen out of so many, 0 where all were compared.
        progress: told of surrogates.
        keep: keeps each.
        weights: (M,) how many of all examples each row stands for (default: one).
        left_out: (M,) of each pair, as of ``outliers.separation``.
    """
    if not pairs or not settings.surrogates:
        return Chance()
    count, rate = settings.surrogates, settings.false_discovery_rate
    left_out = left_out or [None] * len(pairs)
    apart = [
        stands_apart(similarity, p, parts(similarity, p, labels), labels, chosen_of, weights, out)
        for p, out in zip(pairs, left_out, strict=True)
    ]
    made = partial(clearest_by_chance, similarity, labels, count, settings.seed, progress, keep)

    def of(*, chosen: bool) -> tuple[Floats, bool]:
        each = zip(pairs, left_out, strict=True)
        how = [clear(similarity, sides, labels, out, chosen=chosen) for sides, out in each]
        some = [each for each, good in zip(how, apart, strict=True) if good]
        found = made(max(how), some, rate, chosen=chosen)
        return found, any(p_after_selection(each, found, count) <= rate for each in some)

    surrogates, findable = of(chosen=chosen_of > 0)
    if not (chosen_of and findable):
        return Chance(surrogates, findable=findable)
    return Chance(surrogates, *of(chosen=False))

"""Members of other pairs, who are no part of what stands between a pair and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.outliers import lean
from opsigcli.mining.parts import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

OWN = 0.9  # of the members of two pairs lean more to their own, where the pairs are told from one another


def told_from(similarity: Floats, pairs: Sequence[Sides], labels: Ints) -> list[NDArray[np.bool_]]:
    """Of each pair, the members of the pairs that are told from it.

    Where features are alike, members of one pair lean to another as well, and more so than who is in neither: they
    would stand between its members and the rest, and it would seem the tail of an axis. On one axis every member leans
    most to the pair farthest out, so that no two pairs there are told from one another: two are if at least nine in ten
    members of either lean more to their own. The contrast with a pair is measured in units of the square root of its
    members' mean, which is how far out it is.

    Args:
        similarity: S, (M, M), zero diagonal.
        pairs: rows of the two sides of each.
        labels: (M,).

    Returns:
        (M,) for each pair.
    """
    members = [np.concatenate(sides) for sides in pairs]
    leans = []
    for sides, rows in zip(pairs, members, strict=True):
        far = lean(similarity, sides, parts(similarity, sides, labels))
        leans.append(far / np.sqrt(max(float(far[rows].mean()), 1e-6)))
    every = np.array(leans).T  # (M, pairs)
    own = [np.mean(far[rows, None] > every[rows], axis=0) for far, rows in zip(leans, members, strict=True)]
    found = []
    for p in range(len(pairs)):
        out = np.zeros(len(similarity), dtype=bool)
        for q, others in enumerate(members):
            if min(own[p][q], own[q][p]) >= OWN:
                out[others] = True
        found.append(out)
    return found

"""Class-matched random groups: what every null in opsig is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Ints


def class_matched(
    labels: Ints, sides: Sequence[Ints], members: Ints, rng: np.random.Generator, draws: int
) -> tuple[Ints, ...]:
    """Random groups with as many examples of every label on each side as the given ones.

    Members of mined pairs are drawn only where a label has too few others, to fill up: a few of them would make a
    random group look like the pair. The sides of one draw are disjoint.

    Args:
        labels: (M,) class indices.
        sides: rows of the groups, one side or two.
        members: rows of the members of all mined pairs, those of ``sides`` included.
        rng: draws the groups.
        draws: how many.

    Returns:
        For each side the rows of its random groups, (draws, number of rows of the side).
    """
    inside = np.isin(np.arange(len(labels)), members)
    strata = []
    for label in np.unique(labels[np.concatenate(sides)]):
        of = labels == label
        ends = np.cumsum([int((labels[rows] == label).sum()) for rows in sides])
        strata.append((np.flatnonzero(of & ~inside), np.flatnonzero(of & inside), ends))
    drawn: list[list[Ints]] = [[] for _ in sides]
    for _ in range(draws):
        parts = [[rows[:0]] for rows in sides]
        for others, filling, ends in strata:
            rows = np.concatenate([rng.permutation(others), rng.permutation(filling)])[: ends[-1]]
            for part, piece in zip(parts, np.split(rng.permutation(rows), ends[:-1]), strict=True):
                part.append(piece)
        for groups, part in zip(drawn, parts, strict=True):
            groups.append(np.concatenate(part))
    return tuple(np.stack(groups) for groups in drawn)

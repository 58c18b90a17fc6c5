"""Whether a pair is there in examples that nobody mined: sides by their gradients, swings by their losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from opsigcli.mining.extend import joining
from opsigcli.mining.over_checkpoints import over_checkpoints
from opsigcli.mining.similarity import similarity_to
from opsigcli.mining.simple import closeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

SHARE = 0.55  # of the members' median contrast, as in the search for them


class Unseen(Protocol):
    """Examples of other data under the same weights."""

    @property
    def labels(self) -> Ints:
        """(N',) class indices."""

    @property
    def note(self) -> str:
        """What was left out of them, in words; "" where nothing was."""
        ...

    @property
    def gradients(self) -> Sequence[Gradients]:
        """Theirs, one per checkpoint compared, in the projection of the candidates'."""

    @property
    def high_passed(self) -> Floats:
        """(T−1, N') high-passed loss deltas, nats; NaN where not measured."""


def sides_in(
    unseen: Unseen,
    compared: Sequence[Gradients],
    similarity: Floats,
    sides: Sides,
    seed: int = 0,
    among: Ints | None = None,
) -> Sides:
    """Which unseen examples stand with either side of a pair, by the rule of ``simple.refine``.

    No loss is looked at, nor any checkpoint but those compared.

    Args:
        unseen: N' examples.
        compared: gradients of the M candidates, one per checkpoint compared.
        similarity: residual-adjusted S of the candidates, (M, M).
        sides: rows of the candidates in the pair.
        seed: of the references, as of ``similarity.residual_adjusted_cosine``.
        among: rows that stand for all examples, likewise.

    Returns:
        Positions among the unseen, increasing; disjoint.
    """
    members = np.concatenate(sides)
    own = np.stack([closeness(similarity, side)[members] for side in sides])
    standing, few = np.zeros((len(compared), 2, len(unseen.labels))), []
    for row, (at, there) in enumerate(zip(compared, unseen.gradients, strict=True)):
        near = similarity_to(at, members, seed, among)
        similarity = near.similarity(there)
        first, second = similarity[: len(sides[0])], similarity[len(sides[0]) :]
        standing[row] = first.mean(axis=0), second.mean(axis=0)
        few.append(near.few)
    return joining(own, over_checkpoints(standing, few), len(sides[0]), SHARE)

"""Members of the pairs among the examples that were no candidates, by the rule that decided on candidates."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from opsigcli.mining.over_checkpoints import over_checkpoints
from opsigcli.mining.similarity import Gradients, similarity_to
from opsigcli.mining.simple import members_by, owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

SHARE = 0.7  # of the members' median contrast; who was no candidate was less opposed than they to begin with
LENIENT = 0.5  # of the bar, where few checkpoints decide who is looked at further
OPPOSED = -0.0375  # mean S of two sides that others may join
LARGEST = 0.05  # of all examples, on a side


class Outside(Protocol):
    """Gradients of examples that were no candidates, which may be others than those that candidates are compared by."""

    examples: int  # N

    def beside(self, positions: Ints, compared: Sequence[Gradients]) -> Sequence[Gradients]:
        """The gradients of candidates by which others are held against them.

        Args:
            positions: (M,) of the candidates.
            compared: their gradients, one per checkpoint compared.
        """

    def pieces(self) -> Iterator[tuple[Ints, Sequence[Gradients]]]:
        """All of them, at some of the checkpoints compared: positions (B,), and gradients, folded or not."""

    def gradients(self, positions: Ints) -> Iterator[tuple[slice, Gradients]]:
        """Some of them, in pieces, at all checkpoints compared."""

    def once(self, of: Sequence[Ints], compute: Callable[[], Ints]) -> Ints:
        """What ``compute`` gives, or what it gave before for the same ``of``."""


def extend(
    positions: Ints,
    compared: Sequence[Gradients],
    pairs: Sequence[Sides],
    outside: Outside,
    seed: int = 0,
    among: Ints | None = None,
) -> list[Sides]:
    """Who else belongs to the pairs, by the rule of ``simple.refine`` with a higher bar.

    An example outside is held against the members found: its mean similarity to the one side and to the other, and
    the members' own, decide. Few checkpoints, at half the bar, tell who is looked at on all of them. Nobody joins a
    pair whose sides do not oppose one another by the gradients of the others.

    Args:
        positions: of M candidates.
        compared: their gradients, one per checkpoint compared.
        pairs: rows of both sides of each pair.
        outside: the other examples.
        seed: of the baseline, as of ``similarity.residual_adjusted_cosine``.
        among: rows that stand for all examples, likewise.

    Returns:
        Positions that join either side of each pair, at most 5 % of all examples on a side; nobody joins two pairs.
    """
    if not pairs:
        return []
    of = [np.array([seed]), *(rows for sides in pairs for rows in sides)]

    def found() -> Ints:
        beside = outside.beside(positions, compared)
        return _found(beside, pairs, outside, partial(_Members, pairs=pairs, seed=seed, among=among))

    table = outside.once(of, found)
    return [
        (table[(table[:, 0] == p) & (table[:, 1] == 0), 2], table[(table[:, 0] == p) & (table[:, 1] == 1), 2])
        for p in range(len(pairs))
    ]


class _Members:
    """The members of the pairs at one checkpoint, and where others stand between them."""

    def __init__(self, at: Gradients, pairs: Sequence[Sides], seed: int, among: Ints | None) -> None:
        self.checkpoint = at.checkpoint
        members = np.concatenate([side for sides in pairs for side in sides])
        self._ends = np.cumsum([len(side) for sides in pairs for side in sides])
        self._similarity, self.few = similarity_to(at, members, seed, among)
        own = self._similarity(at.only(members)).astype(np.float64)
        np.fill_diagonal(own, 0)  # nobody is held against himself
        self.own = self._standing(own)
        for side, (begin, end) in enumerate(pairwise((0, *self._ends))):
            self.own[side // 2, side % 2, begin:end] *= (end - begin) / max(end - begin - 1, 1)

    def standing(self, those: Gradients) -> Floats:
        """Mean similarity of other examples to either side of every pair, (P, 2, B)."""
        return self._standing(self._similarity(those).astype(np.float64))

    def _standing(self, similarity: Floats) -> Floats:
        sums = np.add.reduceat(similarity, (0, *self._ends[:-1]), axis=0)
        sizes = np.diff(self._ends, prepend=0)
        return np.asarray((sums / sizes[:, None]).reshape(len(sizes) // 2, 2, -1 if sums.size else 0))


def _found(
    beside: Sequence[Gradients],
    pairs: Sequence[Sides],
    outside: Outside,
    held: Callable[[Gradients], _Members],
) -> Ints:
    """Rows of pair, side, and position of who joins it, (J, 3)."""
    members = {at.checkpoint: held(at) for at in beside}
    few = [at.few for at in members.values()]
    own = over_checkpoints(np.stack([at.own for at in members.values()]), few)
    ends = [0, *np.cumsum([len(first) + len(second) for first, second in pairs]).tolist()]
    of = [slice(begin, end) for begin, end in pairwise(ends)]
    sizes = [len(first) for first, _ in pairs]
    open_to_others = [p for p, n in enumerate(sizes) if own[p, 1, of[p]][:n].mean() < OPPOSED]
    likely: list[Ints] = [np.zeros(0, dtype=np.int64)]
    folded: dict[int, _Members] = {}
    for positions, several in outside.pieces():
        if not folded:
            width = several[0].sketch.shape[1]
            seen = {at.checkpoint for at in several}
            folded = {at.checkpoint: held(at.folded(width)) for at in beside if at.checkpoint in seen}
        some = [folded[at.checkpoint].few for at in several]
        theirs = over_checkpoints(np.stack([folded[at.checkpoint].own for at in several]), some)
        standing = over_checkpoints(np.stack([folded[at.checkpoint].standing(at) for at in several]), some)
        for p in open_to_others:
            joined = joining(theirs[p, :, of[p]], standing[p], sizes[p], SHARE * LENIENT)
            likely += [positions[rows] for rows in joined]
    chosen = np.unique(np.concatenate(likely))
    if not len(chosen):
        return np.zeros((0, 3), dtype=np.int64)
    at_each = {checkpoint: np.zeros((len(pairs), 2, len(chosen))) for checkpoint in members}
    for part, there in outside.gradients(chosen):
        at_each[there.checkpoint][:, :, part] = members[there.checkpoint].standing(there)
    standing = over_checkpoints(np.stack(list(at_each.values())), few)
    contrasts, own_contrasts = standing[:, 0] - standing[:, 1], own[:, 0] - own[:, 1]
    between = [
        own_contrasts[:, part][:, :n].mean(axis=1) - own_contrasts[:, part][:, n:].mean(axis=1)
        for part, n in zip(of, sizes, strict=True)
    ]
    owners = owner(contrasts, np.stack(between))
    table = []
    for p in open_to_others:
        for side, rows in enumerate(joining(own[p, :, of[p]], standing[p], sizes[p], SHARE)):
            claimed = rows[owners[rows] == p]
            room = max(int(LARGEST * outside.examples) - len(pairs[p][side]), 0)
            claimed = claimed[np.argsort(-np.abs(contrasts[p, claimed]), kind="stable")[:room]]
            table += [(p, side, position) for position in np.sort(chosen[claimed])]
    return np.array(table, dtype=np.int64).reshape(-1, 3)


def joining(own: Floats, standing: Floats, first: int, share: float) -> Sides:
    """Which of J examples outside join either side.

    Args:
        own: (2, m) mean similarities of the members to both sides, the ``first`` ones those of the one side.
        standing: (2, J) of the examples outside.
        first: members of the one side.
        share: of the members' median contrast.
    """
    m = own.shape[1]
    sides = np.arange(first), np.arange(first, m)
    to_first, to_second = np.concatenate([own, standing], axis=1)
    joined = members_by(to_first, to_second, sides, share)
    return joined[0][joined[0] >= m] - m, joined[1][joined[1] >= m] - m

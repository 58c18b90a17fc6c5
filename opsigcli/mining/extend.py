"""Members of the pairs among the examples that were no candidates, by the rule that decided on candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from opsigcli.mining.similarity import REFERENCES, Gradients, cosines, cosines_between, excess, usual_cosine
from opsigcli.mining.simple import STILL_OPPOSED, members_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

SHARE = 0.7  # of the members' median contrast; who was no candidate was less opposed than they to begin with
LENIENT = 0.5  # of the bar, where one checkpoint decides who is looked at further
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

    def pieces(self) -> Iterator[tuple[Ints, Gradients]]:
        """All of them, at one of the checkpoints compared: positions (B,), and what the gradients are."""

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
    the members' own, decide. One checkpoint, at half the bar, tells who is looked at on all of them. Nobody joins a
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
        return _found([_Members(at, pairs, seed, among) for at in beside], pairs, outside)

    table = outside.once(of, found)
    return [
        (table[(table[:, 0] == p) & (table[:, 1] == 0), 2], table[(table[:, 0] == p) & (table[:, 1] == 1), 2])
        for p in range(len(pairs))
    ]


class _Members:
    """The members of the pairs at one checkpoint, and where others stand between them."""

    def __init__(self, at: Gradients, pairs: Sequence[Sides], seed: int, among: Ints | None) -> None:
        rng = np.random.default_rng([seed, at.checkpoint])
        some = rng.permutation(len(at.sketch) if among is None else among)[:REFERENCES]
        rows = (np.asarray(part[some], dtype=np.float32) for part in (at.sketch, at.residuals))
        self.checkpoint = at.checkpoint
        self._usual = usual_cosine(*map(cosines, rows))  # as ``similarity.baseline`` has it
        self._sides = [tuple(_rows(at, side) for side in sides) for sides in pairs]

    def standing(self, pair: int, those: Gradients) -> Floats:
        """Mean similarity of other examples to the one side of a pair and to the other, (2, B)."""
        return np.stack([self._similarity(side, those).mean(axis=0) for side in self._sides[pair]])

    def own_standing(self, pair: int) -> Floats:
        """That of the members themselves, those of the first side first, (2, m); nobody is held against himself."""
        found = []
        for side in self._sides[pair]:
            columns = []
            for other in self._sides[pair]:
                similarity = self._similarity(side, other)
                if other is side:
                    np.fill_diagonal(similarity, 0)
                columns.append(similarity.sum(axis=0) / max(len(similarity) - (other is side), 1))
            found.append(np.concatenate(columns))
        return np.stack(found)

    def _similarity(self, side: Gradients, those: Gradients) -> Floats:
        usual = np.interp(cosines_between(side.residuals, those.residuals), *self._usual)
        return excess(cosines_between(side.sketch, those.sketch), usual).astype(np.float64)


def _found(members: Sequence[_Members], pairs: Sequence[Sides], outside: Outside) -> Ints:
    """Rows of pair, side, and position of who joins it, (J, 3)."""
    own = {at.checkpoint: [at.own_standing(p) for p in range(len(pairs))] for at in members}
    mean = [np.mean([own[at.checkpoint][p] for at in members], axis=0) for p in range(len(pairs))]
    open_to_others = [p for p in range(len(pairs)) if mean[p][1, : len(pairs[p][0])].mean() < STILL_OPPOSED]
    by_checkpoint = {at.checkpoint: at for at in members}
    likely = [np.zeros(0, dtype=np.int64)]
    for positions, there in outside.pieces():
        at = by_checkpoint[there.checkpoint]
        for p in open_to_others:
            joined = joining(own[at.checkpoint][p], at.standing(p, there), len(pairs[p][0]), SHARE * LENIENT)
            likely += [positions[rows] for rows in joined]
    chosen = np.unique(np.concatenate(likely))
    if not len(chosen):
        return np.zeros((0, 3), dtype=np.int64)
    standing = np.zeros((len(pairs), 2, len(chosen)))
    for part, there in outside.gradients(chosen):
        for p in open_to_others:
            standing[p, :, part] += by_checkpoint[there.checkpoint].standing(p, there) / len(members)
    found = {p: joining(mean[p], standing[p], len(pairs[p][0]), SHARE) for p in open_to_others}
    claims = np.full((len(pairs), len(chosen)), -np.inf)
    contrast = np.abs(standing[:, 0] - standing[:, 1])
    for p, joined in found.items():
        rows = np.concatenate(joined)
        claims[p, rows] = contrast[p, rows]
    owner = claims.argmax(axis=0)
    table = []
    for p, joined in found.items():
        for side, rows in enumerate(joined):
            claimed = rows[owner[rows] == p]
            room = max(int(LARGEST * outside.examples) - len(pairs[p][side]), 0)
            claimed = claimed[np.argsort(-contrast[p, claimed], kind="stable")[:room]]
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


def _rows(at: Gradients, rows: Ints) -> Gradients:
    return Gradients(at.checkpoint, at.sketch[rows], at.norms[rows], at.residuals[rows])

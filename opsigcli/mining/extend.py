"""Members of the pairs among the examples that were no candidates, by the rule that decided on candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from opsigcli.mining.fixed_point import TAIL_SHARES
from opsigcli.mining.similarity import REFERENCES, Gradients, cosines, cosines_between, excess, usual_cosine
from opsigcli.mining.simple import refine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

SHARE = 0.7  # of the members' median contrast; who was no candidate was less opposed than they to begin with
LENIENT = 0.5  # of the bar, where one checkpoint decides who is looked at further
LARGEST = TAIL_SHARES[-1]  # of all examples, on a side


class Outside(Protocol):
    """Gradients of examples that were no candidates, by the random projections of the candidates' own."""

    examples: int  # N

    def pieces(self) -> Iterator[tuple[Ints, Gradients]]:
        """All of them, at one of the checkpoints compared: positions (B,), and what the gradients are."""

    def gradients(self, positions: Ints) -> list[Gradients]:
        """Some of them, at all checkpoints compared."""

    def once(self, of: Sequence[Ints], compute: Callable[[], Ints]) -> Ints:
        """What ``compute`` gives, or what it gave before for the same ``of``."""


def extend(
    compared: Sequence[Gradients],
    pairs: Sequence[Sides],
    outside: Outside,
    seed: int = 0,
    among: Ints | None = None,
) -> list[Sides]:
    """Who else belongs to the pairs, by the rule of ``simple.refine`` with a higher bar.

    An example outside is held against the members found: its mean similarity to the one side and to the other, and
    the members' own, decide. One checkpoint, at half the bar, tells who is looked at on all of them.

    Args:
        compared: gradients of M candidates, one per checkpoint compared.
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
    table = outside.once(of, lambda: _found(compared, pairs, outside, seed, among))
    return [
        (table[(table[:, 0] == p) & (table[:, 1] == 0), 2], table[(table[:, 0] == p) & (table[:, 1] == 1), 2])
        for p in range(len(pairs))
    ]


def _found(
    compared: Sequence[Gradients],
    pairs: Sequence[Sides],
    outside: Outside,
    seed: int,
    among: Ints | None,
) -> Ints:
    """Rows of pair, side, and position of who joins it, (J, 3)."""
    known = {at.checkpoint: (at, _usual(at, seed, among)) for at in compared}
    likely = [np.zeros(0, dtype=np.int64)]
    for positions, there in _small(outside.pieces()):
        for sides in pairs:
            joined, _ = _joining([(*known[there.checkpoint], there)], sides, SHARE * LENIENT)
            likely += [positions[rows] for rows in joined]
    chosen = np.unique(np.concatenate(likely))
    if not len(chosen):
        return np.zeros((0, 3), dtype=np.int64)
    held = [(*known[there.checkpoint], there) for there in outside.gradients(chosen)]
    found = [_joining(held, sides, SHARE) for sides in pairs]
    claims = np.full((len(pairs), len(chosen)), -np.inf)
    for p, (joined, contrast) in enumerate(found):
        rows = np.concatenate(joined)
        claims[p, rows] = np.abs(contrast[rows])
    owner = claims.argmax(axis=0)
    table = []
    for p, (joined, contrast) in enumerate(found):
        for side, rows in enumerate(joined):
            own = rows[owner[rows] == p]
            room = max(int(LARGEST * outside.examples) - len(pairs[p][side]), 0)
            own = own[np.argsort(-np.abs(contrast[own]), kind="stable")[:room]]
            table += [(p, side, position) for position in np.sort(chosen[own])]
    return np.array(table, dtype=np.int64).reshape(-1, 3)


def _small(pieces: Iterator[tuple[Ints, Gradients]], size: int = 1024) -> Iterator[tuple[Ints, Gradients]]:
    """The same pieces, cut so small that their similarities to the members are few."""
    for positions, at in pieces:
        for start in range(0, len(positions), size):
            part = slice(start, start + size)
            yield (
                positions[part],
                Gradients(at.checkpoint, at.sketch[part], at.norms[part], at.residuals[part]),
            )


def _usual(at: Gradients, seed: int, among: Ints | None) -> tuple[Floats, Floats]:
    """The baseline f of one checkpoint, from the references that ``similarity.baseline`` draws."""
    rng = np.random.default_rng([seed, at.checkpoint])
    some = rng.permutation(len(at.sketch) if among is None else among)[:REFERENCES]
    rows = (np.asarray(part[some], dtype=np.float32) for part in (at.sketch, at.residuals))
    return usual_cosine(*map(cosines, rows))


def _joining(
    held: Sequence[tuple[Gradients, tuple[Floats, Floats], Gradients]], sides: Sides, share: float
) -> tuple[Sides, Floats]:
    """Which of J examples outside join either side, and their contrast (J,).

    ``held`` has the candidates' gradients, the baseline, and those of the J, for each checkpoint.
    """
    members = np.concatenate(sides)
    m, others = len(members), len(held[0][2].sketch)
    # Rows of members are all that the rule looks at.
    similarity = np.zeros((m + others,) * 2, dtype=np.float32)
    for inside, points, outside in held:
        of = _rows(inside, members)
        for columns, those in ((slice(0, m), of), (slice(m, None), outside)):
            usual = np.interp(cosines_between(of.residuals, those.residuals), *points)
            similarity[:m, columns] += excess(cosines_between(of.sketch, those.sketch), usual)
    similarity /= len(held)
    np.fill_diagonal(similarity, 0)
    a = len(sides[0])
    first, second = refine(similarity, (np.arange(a), np.arange(a, m)), share)
    contrast = similarity[:a, m:].mean(axis=0) - similarity[a:m, m:].mean(axis=0)
    return (first[first >= m] - m, second[second >= m] - m), contrast


def _rows(at: Gradients, rows: Ints) -> Gradients:
    return Gradients(at.checkpoint, at.sketch[rows], at.norms[rows], at.residuals[rows])

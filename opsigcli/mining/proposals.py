"""Proposals: two groups refined against one another from many starts, and how clearly they stand out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.simple import SMALLEST
from opsigcli.mining.starts import STARTS, Starts
from opsigcli.mining.states import CLEAR, Measures, States

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining.states import Rows
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

TOGETHER = 256  # starts refined at once; bounds memory
ROUNDS = 6
SETTLED = 4  # rounds before which a proposal still shows what its start was chosen for
OVERLAP = 0.5  # of the smaller proposal's members
OPPOSED = 0.07  # mean −S(A, B)
ALIKE = 0.22  # −S(A, B) over the geometric mean of S within A and within B
COHESION = 0.2  # mean S within a side times √(n − 1); groups that a search picks out of noise reach .15
SEPARATION = 1.5  # noise that a search picks out reaches 1.4 where features are evened
ENDS = 0.1  # of the examples, at either end of an axis
ON_AXIS = 0.8  # separation of its ends; what all gradients of a network that pools have in common reaches .45
UNEQUAL = 6.0  # times as many members on one side: opposing groups occur with similar frequency


@dataclass(frozen=True)
class Proposal:
    """Two groups and how clearly they stand out."""

    sides: Sides
    opposition: float  # −mean S(A, B)
    within: tuple[float, float]  # mean S of two members of the same side
    separation: float  # 10 % quantile of the members' contrast over the 98 % quantile of the others' size

    @property
    def score(self) -> float:
        """Opposition times separation, capped."""
        return self.opposition * min(self.separation, CLEAR)

    @property
    def members(self) -> Ints:
        """Rows of both sides."""
        return np.concatenate(self.sides)

    def overlaps(self, other: Proposal) -> bool:
        """Whether they share half of the smaller one's members."""
        sizes = (sum(map(len, each.sides)) for each in (self, other))
        return len(self._who & other._who) >= OVERLAP * min(sizes)

    @cached_property
    def _who(self) -> frozenset[int]:
        return frozenset(self.members.tolist())

    @property
    def holds(self) -> bool:
        """Whether the similarities alone speak for the pair."""
        cohesion = [s * np.sqrt(len(side) - 1) for s, side in zip(self.within, self.sides, strict=True)]
        sizes = sorted(map(len, self.sides))
        if min(cohesion) < COHESION or sizes[1] > UNEQUAL * sizes[0]:
            return False
        return self.leans and self.separation > SEPARATION

    @property
    def leans(self) -> bool:
        """Whether the groups are opposed, and as much as they are alike; apart or not."""
        if min(self.within) <= 0:
            return False
        alike = self.opposition / np.sqrt(self.within[0] * self.within[1])
        return bool(self.opposition > OPPOSED and alike > ALIKE)


def clarity(similarity: Floats, sides: Sides) -> float:
    """Opposition times separation (at most 1.5) of two groups; 0 where they are too small to tell."""
    states = States.of(similarity, [sides])
    rows = states.large_enough()
    return max(float(states.measured(rows).score[0]), 0.0) if len(rows) else 0.0


def propose(starts: Starts, most: int = STARTS) -> list[Proposal]:
    """Every start refined six times; of its states from the fourth on the one with the highest score.

    What a round leaves as it was stays so, and is not refined again; nor is what has become like another.
    """
    sides = starts.first(most)
    best = _Best(len(sides), len(starts.similarity))
    for at in range(0, len(sides), TOGETHER):
        numbers = np.arange(at, min(at + TOGETHER, len(sides)))
        states = States.of(starts.similarity, sides[at : at + TOGETHER])
        for done in range(1, ROUNDS + 1):
            refined = states.refined()
            moved = states.unlike(refined)
            if done <= SETTLED:  # later on what rests was looked at before
                best.look(numbers, states, np.flatnonzero(~moved))
                moved = _first_of_its_kind(refined, moved)
            if not moved.any():
                break
            numbers, states = numbers[moved], states.moved(refined, moved)
            if done >= SETTLED:
                best.look(numbers, states, np.arange(len(numbers)))
    return best.proposals()


def narrowed(similarity: Floats, proposals: list[Proposal], share: float, rounds: int) -> list[Proposal]:
    """What proposals become when they are refined with another bar, after each of some rounds."""
    if not proposals:
        return []
    numbers, found = np.arange(len(proposals)), []
    states = States.of(similarity, [p.sides for p in proposals])
    for _ in range(rounds):
        refined = states.refined(share)
        rest = not states.unlike(refined).any()
        states = states.moved(refined, np.ones(len(proposals), dtype=bool))
        best = _Best(len(proposals), len(similarity))
        best.look(numbers, states, numbers)
        found += best.proposals()
        if rest:
            break
    return found


class _Best:
    """The best state of every start so far."""

    def __init__(self, starts: int, examples: int) -> None:
        self._score: Floats = np.zeros(starts, dtype=np.float32)  # what is not above 0 is none
        self._measures: Floats = np.zeros((starts, len(Measures._fields)), dtype=np.float32)
        self._sides = np.zeros((2, starts, examples), dtype=bool)

    def look(self, numbers: Ints, states: States, rows: Ints) -> None:
        """Take what some rows of states propose, where it is better; ``numbers`` are those of the rows' starts."""
        rows = np.intersect1d(rows, states.large_enough())
        found = states.measured(rows)
        better = np.flatnonzero(found.score > self._score[numbers[rows]])
        of, rows = numbers[rows[better]], rows[better]
        self._score[of] = found.score[better]
        self._measures[of] = np.stack(found, axis=1)[better]
        self._sides[:, of] = states.first[rows] > 0, states.second[rows] > 0

    def proposals(self) -> list[Proposal]:
        """Those with different members."""
        unique = {}
        for start in np.flatnonzero(self._score > 0):
            first, second = map(np.flatnonzero, self._sides[:, start])
            opposition, *within, separation = map(float, self._measures[start])
            unique[first.tobytes() + second.tobytes()] = Proposal(
                (first, second), opposition, (within[0], within[1]), separation
            )
        return list(unique.values())


def _first_of_its_kind(both: Rows, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the rows ``among`` some have no equal before them, as a mask."""
    rows = np.flatnonzero(among)
    packed = np.packbits(np.concatenate([side[rows] > 0 for side in both], axis=1), axis=1)
    found = np.zeros(len(among), dtype=bool)
    seen = set[bytes]()
    for row, key in zip(rows, map(bytes, packed), strict=True):
        found[row] = key not in seen
        seen.add(key)
    return found


def along_the_axis(similarity: Floats) -> list[Proposal]:
    """Both ends of the first eigenvector of S, a tenth of the examples each, where they are opposed and alike; or none.

    On a smooth axis nobody stands apart, so that no search for groups that do finds it. What it proposes is judged like
    the rest, and cannot be outliers unless it is.
    """
    from scipy.sparse.linalg import ArpackError, eigsh

    side = int(ENDS * len(similarity))
    if side < SMALLEST:
        return []
    start = np.random.default_rng(0).standard_normal(len(similarity))
    try:
        place = eigsh(similarity.astype(np.float64), k=1, which="LA", v0=start, tol=1e-3)[1][:, 0]
    except ArpackError:  # nobody is like anybody, or no direction is before the others
        return []
    order = np.argsort(place, kind="stable")
    sides = np.sort(order[:side]), np.sort(order[-side:])
    measures = States.of(similarity, [sides]).measured(np.zeros(1, dtype=np.int64))
    opposition, *within, separation = (float(value[0]) for value in measures)
    found = Proposal(sides, opposition, (within[0], within[1]), separation)
    return [found] if found.leans and separation > ON_AXIS else []


def suppress(proposals: list[Proposal]) -> list[Proposal]:
    """The proposals with the highest scores, of which no two share half of the smaller one's members."""
    kept: list[Proposal] = []
    for proposal in sorted(proposals, key=lambda p: -p.score):
        if not any(proposal.overlaps(other) for other in kept):
            kept.append(proposal)
    return kept

"""What the two groups of a pair do in a run that did not mine them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.comparison_records import PairElsewhere
from opsigcli.mining.blocks import columns_of
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.evidence.losses import correlations
from opsigcli.mining.evidence.material import DRAWS, HELD_OUT
from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.trace_stats import Survey, first_step, survey
from opsigcli.mining_records import Evidence
from opsigcli.sentences import say

if TYPE_CHECKING:
    from opsigcli.mining_records import Pair
    from opsigcli.records import Case, Floats, Ints

POOL = 4000  # examples that random groups are drawn from, besides members
LEVEL = 0.05  # of a p-value, below which groups are told from random ones
FEWEST = 2  # members of a group
SEED = 0


@dataclass(frozen=True)
class Measured:
    """What two groups do in one run; None where too little of them is there."""

    members: tuple[int, int]
    anti_phase: Evidence | None
    amplitude: Evidence | None
    losses: tuple[Floats, Floats]  # (T,) each


class Field:
    """A run in which groups are looked for; its losses are surveyed once."""

    def __init__(self, case: Case, letter: str) -> None:
        self.case, self.letter = case, letter

    @cached_property
    def _survey(self) -> Survey:
        trace = self.case.trace
        return survey(trace.losses, trace.measured, trace.weights)

    @cached_property
    def _mined(self) -> Ints:
        """Ids of all that the run mined itself."""
        groups = self.case.mining.groups.values() if self.case.mining else ()
        return np.concatenate([np.zeros(0, np.int64), *(group.ids for group in groups)])

    def measure(self, sides: tuple[Ints, Ints]) -> Measured:
        """What two groups of this run's examples do in it.

        Args:
            sides: ids, all in the run.
        """
        trace = self.case.trace
        whole = [trace.positions(ids) for ids in sides]
        rows = [places[self._survey.examples[places]] for places in whole]
        losses = [_mean(columns_of(trace.losses, places), len(trace.steps)) for places in rows]
        sizes = (len(rows[0]), len(rows[1]))
        steps = len(trace.steps) - 1
        if min(sizes) < FEWEST or steps - first_step(steps) < HELD_OUT:
            return Measured(sizes, None, None, (losses[0], losses[1]))
        pool = self._pool(rows)
        inside = [np.searchsorted(pool, np.sort(places)) for places in rows]
        members = np.flatnonzero(np.isin(trace.example_ids[pool], self._mined))
        members = np.union1d(members, np.concatenate(inside))
        drawn = class_matched(trace.labels[pool], inside, members, np.random.default_rng(SEED), DRAWS)
        series = oscillation(trace.losses, pool, self._survey).high_passed[first_step(steps) :]
        series = series[np.isfinite(series).all(axis=1)].T  # (M, T')
        if series.shape[1] < HELD_OUT:
            return Measured(sizes, None, None, (losses[0], losses[1]))
        first, second = (
            _averages(np.concatenate([side[None], others]), len(pool)) @ series
            for side, others in zip(inside, drawn, strict=True)
        )
        apart = np.sqrt(np.square(first - second).mean(axis=1))
        return Measured(
            sizes,
            _beside_null(correlations(first, second)),
            _beside_null(apart, told=True),
            (losses[0], losses[1]),
        )

    def _pool(self, rows: list[Ints]) -> Ints:
        """Positions of the members and of random others of their labels, increasing."""
        labels, members = self.case.trace.labels, np.concatenate(rows)
        others = self._survey.examples & np.isin(labels, np.unique(labels[members]))
        others[members] = False
        free = np.flatnonzero(others)
        if len(free) > POOL:
            free = np.random.default_rng(SEED).choice(free, POOL, replace=False)
        return np.union1d(members, free)


def pair_elsewhere(number: int, pair: Pair, home: Field, other: Field, shared: Ints) -> PairElsewhere:
    """What a pair that ``home`` mined does in the run of ``other``.

    Args:
        number: of the pair, from 1.
        pair: its groups.
        home: the run that mined it.
        other: another run.
        shared: ids of the examples that are the same in both.
    """
    sides = (np.intersect1d(pair.first.ids, shared), np.intersect1d(pair.second.ids, shared))
    before, there = home.measure(sides), other.measure(sides)
    again, overlap = _again(sides, other.case, shared)
    return PairElsewhere(
        number,
        home.letter,
        other.letter,
        pair.verdict,
        pair.finding,
        (len(pair.first.ids), len(pair.second.ids)),
        there.members,
        before.anti_phase,
        there.anti_phase,
        before.amplitude,
        there.amplitude,
        before.losses,
        there.losses,
        _said(there),
        again,
        overlap,
    )


def _said(there: Measured) -> str:
    """Whether the groups swing against one another, and by more than random groups do.

    The correlation carries no p-value: a few members among them make random groups swing as well.
    """
    if there.anti_phase is None or there.amplitude is None or there.amplitude.p_value is None:
        return say("runs: too few", what="members" if min(there.members) < FEWEST else "checkpoints")
    if there.amplitude.p_value > LEVEL:
        return say("runs: as random")
    return say("runs: against" if there.anti_phase.value < 0 else "runs: in phase")


def _again(sides: tuple[Ints, Ints], case: Case, shared: Ints) -> tuple[int | None, float | None]:
    """The pair of another run that shares most members, whichever side is called first; None where it mined none."""
    best: tuple[int | None, float | None] = (None, None)
    for number, pair in enumerate(case.mining.pairs if case.mining else (), start=1):
        own = [np.intersect1d(group.ids, shared) for group in pair.groups.values()]
        found = max((_jaccard(sides[0], own[i]) + _jaccard(sides[1], own[1 - i])) / 2 for i in (0, 1))
        if found > (best[1] or 0.0):
            best = number, found
    return best


def _jaccard(a: Ints, b: Ints) -> float:
    either = len(np.union1d(a, b))
    return len(np.intersect1d(a, b)) / either if either else 0.0


def _averages(groups: Ints, count: int) -> Floats:
    """A row for each group that takes the mean over its members, (R, M)."""
    matrix = np.zeros((len(groups), count), dtype=np.float32)
    np.put_along_axis(matrix, groups, 1 / groups.shape[1], axis=1)
    return matrix


def _beside_null(found: Floats, *, told: bool = False) -> Evidence | None:
    """The first value beside the mean of the others; if ``told``, with the share of all that are as large."""
    if not np.isfinite(found).all():
        return None
    extreme = int((found[1:] >= found[0]).sum())
    return Evidence(float(found[0]), float(found[1:].mean()), (1 + extreme) / len(found) if told else None)


def _mean(losses: Floats, rows: int) -> Floats:
    return losses.mean(axis=1, dtype=np.float64) if losses.shape[1] else np.full(rows, np.nan)

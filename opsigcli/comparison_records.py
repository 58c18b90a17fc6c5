"""What a comparison of several runs says: each run, which examples they share, what groups of one do in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsigcli.axis import Axis

if TYPE_CHECKING:
    from opsigcli.mining_records import Evidence
    from opsigcli.records import Floats, Ints

BOTH = " and "  # between what ratios are of, where one rule of a run gave way to another


@dataclass(frozen=True)
class ComparedRun:
    """One run among several."""

    letter: str  # A, B …, by which the comparison names it
    store: str  # its file
    settings: dict[str, str]  # by name: model, data, loss, optimizer, its settings, batch, BatchNorm
    unit: str  # what its steps count
    steps: Ints  # (T,)
    examples: int  # N
    mean_losses: Floats  # (T,) nats, over its own examples; NaN = none
    shared_losses: Floats | None  # (T,) nats, over the examples that all runs share; None where none are
    spikes: tuple[int, ...]  # steps at their tops
    rises: tuple[float, ...]  # of the spikes, nats
    holders: str  # which classes held the spikes, in words; "" where it is not known
    ratio_steps: tuple[int, ...]  # where the stability ratio was measured and converged
    ratios: tuple[float, ...]  # at those steps; 1 is the edge
    sharpness: str  # what the ratio is of
    pairs: int | None  # mined; None where nothing was mined
    findings: int | None  # of these, beyond chance; None where no pair was tested

    @property
    def axis(self) -> Axis:
        """What its steps count."""
        return Axis(self.unit)


@dataclass(frozen=True)
class SharedExamples:
    """How many examples of two runs are the same, by id and by content."""

    first: str  # letter
    second: str  # letter of the other
    examples: tuple[int, int]  # of each
    same: int  # of one id and one content
    changed: int | None  # of one id and other contents; None where contents are not known
    told_by: str  # contents, or fingerprint of the data where a store has no contents
    refused: str = ""  # why nothing is said of single examples, or ""


@dataclass(frozen=True)
class PairElsewhere:
    """What the two groups of a pair that one run mined do in another run.

    ``anti_phase`` is the correlation of the groups' mean high-passed loss deltas over the steps after the first 10 %;
    ``amplitude`` the root mean square of their difference, nats, with the share of random groups that move as far
    apart. The null of both are groups of random examples of the same labels and sizes in the same run.
    """

    pair: int  # number in the run that mined it
    mined_in: str  # letter
    seen_in: str  # letter
    verdict: str  # of the pair where it was mined
    finding: bool | None  # beyond chance where it was mined; None = not tested
    sizes: tuple[int, int]  # members of each group
    shared: tuple[int, int]  # of these, examples of the other run too, with losses at all checkpoints
    anti_phase_before: Evidence | None  # in the run that mined it, of the same members
    anti_phase: Evidence | None  # in the other run; None where steps or members are too few
    amplitude_before: Evidence | None  # in the run that mined it
    amplitude: Evidence | None  # in the other run
    before: tuple[Floats, Floats]  # (T,) each: mean losses of the groups where they were mined, nats
    there: tuple[Floats, Floats]  # (T,) each: at the other run's checkpoints
    said: str  # against one another, apart in phase, as random groups, or what there is too little of
    again: int | None = None  # the pair that the other run mined itself and that shares most members
    overlap: float | None = None  # mean over sides of shared members ÷ members of either


@dataclass(frozen=True)
class Gain:
    """How far the mean loss of a group went in every run."""

    group: str  # all examples, a class, or a group of a pair and the run that mined it
    members: int  # of these, examples that all runs have
    changes: tuple[float, ...]  # nats, for each run; below 0 the group gains


@dataclass(frozen=True)
class Gains:
    """Which groups gain and lose, from the last step at which all runs are the same to the steps of a window."""

    step: int  # up to which the runs are the same, as forks at their checkpoint
    first: int  # of the window: the second half of the steps after it that all runs have
    last: int  # of the window
    groups: tuple[Gain, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side."""

    runs: tuple[ComparedRun, ...]
    differing: tuple[str, ...]  # settings that are not the same in all runs
    shared: tuple[SharedExamples, ...]  # of each two runs
    shared_by_all: int  # examples that all runs have
    elsewhere: tuple[PairElsewhere, ...]
    gains: Gains | None = None  # None where the runs are nowhere the same
    notes: tuple[str, ...] = ()  # why something is not compared

"""What mining finds: groups, pairs with their evidence, largest loss deltas, and spikes attributed to groups."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsigcli.records import Floats, Ints, Provenance
    from opsigcli.spike_records import SpikeCause

TRACED = "checkpoints_traced"  # among the options of the provenance: of how many checkpoints the trace was
WINDOW = 5  # loss deltas that the running mean taken out is over: of fewer nothing is taken out
Side = Literal["first", "second", "rest"]
SIDES: tuple[Side, Side] = ("first", "second")  # of a pair


@dataclass(frozen=True)
class Evidence:
    """One number for a pair, with the reference level it has to be held against."""

    value: float  # the number itself
    null: float | None = None  # the same number for the null named in the definition
    p_value: float | None = None  # share of the null that is as large
    definition: str = ""  # what it is: in a store a name among DEFINITIONS of mining, in answers words
    feature: str = ""  # what it is about, where it could be several: brightness, or a token
    side: str = ""  # first or second, where it is about one group of the pair


@dataclass(frozen=True)
class Group:
    """Example ids that move together."""

    ids: Ints  # (n,)
    labels: dict[str, int] = field(default_factory=dict)  # class name -> members, most first
    nearest: int | None = None  # id of the member whose gradient is nearest to the group's centroid


@dataclass(frozen=True)
class Pair:
    """Two groups with opposing signals. ``first`` is the one whose loss rises at the pair's strongest step."""

    first: Group
    second: Group
    opposition: Evidence
    evidence: dict[str, Evidence]  # by name; definitions in opsigcli.mining.evidence.DEFINITIONS
    verdict: str  # in words
    reasons: tuple[str, ...] = ()  # for the verdict, in words
    strongest_step: int = 0  # the delta from this checkpoint to the next is the pair's largest
    traits: tuple[str, ...] = ()  # of structural, active, discrete, unstable
    finding: bool | None = (
        None  # passes the false discovery rate as opposing outliers; None = that was not tested
    )

    @property
    def groups(self) -> dict[Side, Group]:
        """Both groups by side."""
        return dict(zip(SIDES, (self.first, self.second), strict=True))


@dataclass(frozen=True, order=True)
class GroupKey:
    """Which group of examples: one side of a pair, or the rest of the examples."""

    pair: int  # from 1; 0 for the rest
    side: Side

    def __str__(self) -> str:
        return f"pair {self.pair} {self.side}" if self.pair else self.side


REST = GroupKey(0, "rest")  # the examples in no pair


@dataclass(frozen=True)
class TopDeltas:
    """The examples whose loss changed most between one checkpoint and the next."""

    step: int  # the earlier checkpoint
    next_step: int  # the later one
    up_ids: Ints  # (k,) largest positive deltas first
    up_deltas: Floats  # (k,) nats
    down_ids: Ints  # (k,) most negative first
    down_deltas: Floats  # (k,) nats


@dataclass(frozen=True)
class Spike:
    """A sudden rise of the mean loss, and its attribution to groups."""

    step: int  # the checkpoint before the rise
    next_step: int  # the checkpoint at its top
    rise: float  # nats
    share_of_rise: dict[GroupKey, float]  # part of all positive deltas, REST last; adds up to 1
    kind: str = ""  # catapult, divergence, or unresolved at the end of the trace
    cause: SpikeCause | None = None  # by name, of the largest spikes; not stored, the losses give it again


@dataclass(frozen=True)
class EigenPart:
    """What the loss deltas of one step have along one eigenvector of the Hessian, or outside of all."""

    eigenvalue: float | None  # of the Hessian at the first checkpoint; None outside of all
    moved: float  # share of the squared length of the step
    mean: float  # nats, over all examples
    size: float  # mean magnitude over that of the loss deltas
    up_ids: tuple[int, ...]  # largest parts first
    up_parts: tuple[float, ...]  # nats
    down_ids: tuple[int, ...]  # most negative first
    down_parts: tuple[float, ...]  # nats


@dataclass(frozen=True)
class EigenChange:
    """The loss deltas of one step, in parts: along the top eigenvectors, outside of them, and an error."""

    step: int  # the checkpoint at which the eigenvectors are taken
    next_step: int  # the next one
    converged: bool  # the eigenvalues; parts are right in any basis
    mean_change: float  # nats: the sum of the means of all parts and the error
    size: float  # nats, mean magnitude of the loss deltas
    parts: tuple[EigenPart, ...]  # along each eigenvector, largest eigenvalue first
    outside: EigenPart
    error: float  # nats, mean of what the parts lack
    error_size: float  # its mean magnitude over that of the loss deltas


@dataclass(frozen=True)
class Mining:
    """What was found, and what was looked at to find it."""

    method: str  # a name in METHODS
    pairs: tuple[Pair, ...]
    top: tuple[TopDeltas, ...]
    spikes: tuple[Spike, ...]
    gradient_steps: tuple[int, ...]  # checkpoints whose gradients were compared
    candidates: int  # examples whose gradients were compared
    notes: tuple[str, ...] = ()  # limits and advice, in words
    recovery: dict[str, float] | None = None  # against known pairs: found, known, f1, precision
    explained: dict[str, float] = field(
        default_factory=dict
    )  # what -> adjusted R² of high-passed loss deltas by it
    opposing_classes: tuple[tuple[str, ...], ...] = ()  # on either side of the main swing of whole classes
    provenance: Provenance | None = None
    eigen: tuple[EigenChange, ...] = ()  # of --method eigen: loss deltas along the Hessian's top eigenvectors

    @property
    def digest(self) -> str:
        """What the groups are known by, whoever mined them."""
        ids = [[pair.first.ids.tolist(), pair.second.ids.tolist()] for pair in self.pairs]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]

    @property
    def traced(self) -> int | None:
        """Checkpoints of the trace that was mined; None where that is not known."""
        return None if self.provenance is None else self.provenance.options.get(TRACED)

    @property
    def counted(self) -> tuple[Pair, ...]:
        """The findings; all pairs where none was tested for being one."""
        return tuple(pair for pair in self.pairs if pair.finding is not False)

    @property
    def groups(self) -> dict[GroupKey, Group]:
        """The groups of all pairs, in order."""
        return {
            GroupKey(number, side): group
            for number, pair in enumerate(self.pairs, start=1)
            for side, group in pair.groups.items()
        }


def proposals(pairs: Iterable[Pair]) -> set[int]:
    """The numbers of the pairs that are no findings: not beyond chance, or not tested."""
    return {number for number, pair in enumerate(pairs, start=1) if not pair.finding}

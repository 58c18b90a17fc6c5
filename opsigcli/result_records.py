"""The nouns of results that stand side by side in a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Mining,
    )
    from opsigcli.records import Provenance, Thumbnails, VirtualSteps
    from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint

VIRTUAL = "trace --virtual-step"  # the command of virtual steps, where it is named as that of a result


# Sets that arms of --causal go on without; and the outcomes that are compared as shares of what all examples have.
NOBODY = "nothing"
MINED = "the mined groups"
RANDOM = "random examples of the same classes"
SHARES = ("sharpness", "rises", "amplitude")


@dataclass(frozen=True)
class CausalArm:
    """Training that went on without some examples, and what it did."""

    removed: str  # which examples, in words
    examples: int  # how many
    members: int  # of them, of the mined groups
    sharpness_start: float  # λ₁ of the mean loss of the examples left, at the fork
    sharpness_end: float  # and after the last update
    rises: float  # sum of all rises of that mean loss, nats
    mean_loss: float  # after the last update, nats
    accuracy: float | None = None  # on test data, where some were given
    step: int | None = None  # of the fork; null in stores of older versions, with one for all arms
    amplitude: float | None = (
        None  # nats, mean over examples left and updates of |ℓ(t+1) − 2 ℓ(t) + ℓ(t−1)| / 4
    )
    test_loss: float | None = None  # after the last update, nats
    sharpness_with_all: float | None = None  # at the fork where nothing is removed
    rises_with_all: float | None = None  # of the same examples where nothing is removed, nats
    amplitude_with_all: float | None = None  # likewise
    mean_loss_with_all: float | None = None  # likewise
    test_loss_with_all: float | None = None  # where nothing is removed, nats


@dataclass(frozen=True)
class CausalEffect:
    """What going on without the mined groups took from an outcome, or how much more than a control did."""

    outcome: str  # sharpness, rises or amplitude, as shares; mean_loss or test_loss, nats
    control: str  # the set it is held against; "" = the effect itself
    mean: float  # over the forks; positive: lowered, or lowered more
    low: float  # its 95 % interval
    high: float  # likewise
    forks: int  # at which it is known
    beats: bool  # the effect, or the difference, is told from 0
    beaten: bool  # and the other way round


@dataclass(frozen=True)
class Causal:
    """What happens without the mined groups, and without other sets of equal size."""

    step: int  # of the first fork
    updates: int  # of each arm
    arms: tuple[CausalArm, ...]
    caveat: str  # what it does not show, or why there is nothing to show
    groups: str = ""  # digest of the groups that were left out
    seed: int = 0  # of the random controls
    test_data: str = ""  # spec
    effects: tuple[CausalEffect, ...] = ()  # none in stores of older versions
    notes: tuple[str, ...] = ()  # where the forks are and why


@dataclass(frozen=True)
class Result:
    """What a command found under one choice of its options, kept beside what it found under others."""

    name: str  # the command with those options
    command: str  # mine, sharpness, sharpness --quick, or trace --virtual-step
    shown: bool  # in this report
    made: Provenance
    mining: Mining | None = None
    sharpness: tuple[SharpnessPoint, ...] = ()
    phases: tuple[Phase, ...] = ()
    critical: tuple[CriticalSharpness, ...] = ()
    thumbnails: Thumbnails | None = None
    virtual: VirtualSteps | None = None

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


@dataclass(frozen=True)
class CausalArm:
    """Training that went on without some examples, and what it did."""

    removed: str  # which examples, in words
    examples: int  # how many
    members: int  # of them, of the mined groups
    sharpness_start: float  # λ₁ of the mean loss of the examples left, at the common start
    sharpness_end: float  # and after the last update
    rises: float  # sum of all rises of that mean loss, nats
    mean_loss: float  # after the last update, nats
    accuracy: float | None = None  # on test data, where some were given


@dataclass(frozen=True)
class Causal:
    """What happens without the mined groups, and without other sets of equal size."""

    step: int  # where the arms start
    updates: int  # of each arm
    arms: tuple[CausalArm, ...]
    caveat: str  # what it does not show
    groups: str = ""  # digest of the groups that were left out
    seed: int = 0  # of the random controls
    test_data: str = ""  # spec


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

"""The nouns of what a run recorded of its own training, beside what was traced."""

from __future__ import annotations

from dataclasses import dataclass

SHARPNESS_AWARE = "sharpness-aware minimisation"  # a fact that thresholds hang on


@dataclass(frozen=True)
class AgainstLog:
    """The traced mean loss beside the training loss that the run logged, at the checkpoints that its log covers."""

    file: str = ""  # of the log; "" where none could be read
    column: str = ""  # name of the training loss in it
    steps: tuple[int, ...] = ()  # (K,)
    traced: tuple[float, ...] = ()  # (K,) nats, mean over the examples
    logged: tuple[float, ...] = ()  # (K,) nats, mean of the nearest logged losses
    allowed: tuple[float, ...] = ()  # (K,) how far above the logged loss a traced one may be
    verdict: str = ""  # above, below or alike, at most of the checkpoints; "" where none is compared
    words: str = ""  # what the verdict says
    not_read: tuple[str, ...] = ()  # what looks like a log and is not read, and why


@dataclass(frozen=True)
class RecordedFact:
    """Something recorded of a run that makes the loss traced another function than the one trained."""

    name: str  # label smoothing, dropout …
    value: str  # as it is recorded
    found_in: str  # file and key
    effect: str  # what it does to the traced losses
    option: str = ""  # what to give for a trace that has it; "" where nothing does
    matched: bool = False  # the trace has it

"""Inputs that are watched along a run: what the model answers to each, at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining_records import Side
    from opsigcli.records import Bytes, Floats, Ints


@dataclass(frozen=True)
class Probe:
    """What is watched. A store keeps it, so that later checkpoints need neither its file nor its words."""

    spec: str  # colour:skyblue, image:FILE, text:WORDS or example:ID
    words: str  # what it is, in words
    digest: str  # of the input, as the model is given it
    column: int = -1  # of outputs for each token, that of the one which is followed


@dataclass(frozen=True)
class ProbeTrace:
    """Class probabilities of one probe along a run."""

    probe: Probe
    input: NDArray[Any]  # (1, …) as the model is given it
    classes: Ints  # (c,) numbers of the classes that are kept: all, or those that were ever likeliest
    probabilities: Floats  # (T, c) softmax of the outputs; NaN = not measured
    picture: Bytes | None = None  # (H, W, 3)


@dataclass(frozen=True)
class MovedBy:
    """The group whose mean loss moves most with a probe's probability."""

    pair: int  # number, from 1
    side: Side  # first or second
    correlation: float  # of their changes from one checkpoint to the next, after the first 10 % of them
    changes: int  # that it is over
    of: int  # groups that were looked at, of which this is the largest

"""The loss deltas of spikes, from bottom to top, with the classes and the halves of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.tokens import SEEN
from opsigcli.spike_records import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.inputs import Trace
    from opsigcli.records import Floats, Ints

CLASSES = 200  # the largest ones are told apart, the others are one
HALF = 20_000  # examples in either half, at most
OTHERS, EVERYBODY = "other classes", "all examples"


@dataclass(frozen=True)
class Rises:
    """S spikes of N examples, those that the mean loss is over, in the order of their classes."""

    deltas: Floats  # (S, N) nats
    before: Floats  # (S, N) loss at the bottom, nats
    weights: Floats  # (N,) in the mean loss, of mean 1
    positions: Ints  # (N,) in the trace
    classes: Ints  # (N,) index in names, increasing
    names: tuple[str, ...]  # (K,)
    half: NDArray[np.int8]  # (N,) 0 to choose on, 1 to measure on, -1 neither

    @cached_property
    def held(self) -> Floats:
        """(S, N) w max(Δℓ, 0)"""
        return self.weights * np.maximum(self.deltas, 0)

    @property
    def sizes(self) -> Ints:
        """(K,) examples in each class."""
        return np.bincount(self.classes, minlength=len(self.names)).astype(np.int64)

    def rows(self, k: int) -> slice:
        """The examples of a class."""
        first, last = np.searchsorted(self.classes, (k, k + 1)).tolist()
        return slice(first, last)

    @property
    def nameless(self) -> int | None:
        """The class that stands for many."""
        return len(self.names) - 1 if self.names[-1] == OTHERS else None


def read_rises(trace: Trace, counted: NDArray[np.bool_], rows: Sequence[tuple[int, int]], seed: int) -> Rises:
    """The rises of spikes.

    Args:
        trace: the losses, and what the examples are.
        counted: (N,) the examples that the mean loss is over.
        rows: (bottom, top) of each spike.
        seed: of the halves.
    """
    words = [f"'{word}'" for word in trace.classes] if SEEN in trace.seen else trace.classes
    codes, names = _classes(trace.labels[counted], words)
    order = np.argsort(codes, kind="stable")
    positions = np.flatnonzero(counted)[order]
    known: dict[int, Floats] = {}

    def read(row: int) -> Floats:
        if row not in known:
            known[row] = np.asarray(trace.losses[row], dtype=np.float64)[positions]
        return known[row]

    before = np.array([read(bottom) for bottom, _ in rows])
    deltas = np.array([read(top) for _, top in rows]) - before
    weights = np.ones(len(positions)) if trace.weights is None else trace.weights[positions]
    return Rises(
        deltas,
        before,
        weights,
        positions,
        codes[order],
        names,
        halves(codes[order], np.random.default_rng([seed, 2])),
    )


def halves(classes: Ints, rng: np.random.Generator) -> NDArray[np.int8]:
    """Every class cut in two at random: 0 to choose on, 1 to measure on; -1 where there are more than are needed."""
    keys = rng.random(len(classes))
    half = np.empty(len(classes), dtype=np.int8)
    half[np.lexsort((keys, classes))] = np.arange(len(classes)) % 2
    for side in (0, 1):
        members = np.flatnonzero(half == side)
        if len(members) > HALF:
            half[rng.permutation(members)[HALF:]] = -1
    return half


def _classes(labels: Ints, names: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    """Index of each example's class among those that are told apart, and their names."""
    values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    spelled = [names[v] if 0 <= v < len(names) else f"class {v}" for v in values.tolist()]
    if len(values) == 1:
        return codes.astype(np.int64), (EVERYBODY,)
    if len(values) <= CLASSES:
        return codes.astype(np.int64), tuple(spelled)
    kept = np.sort(np.argsort(-counts, kind="stable")[: CLASSES - 1])
    new = np.full(len(values), CLASSES - 1)
    new[kept] = np.arange(CLASSES - 1)
    return new[codes].astype(np.int64), (*(spelled[k] for k in kept), OTHERS)


class Parted:
    """A set of examples in one spike, to be parted.

    Args:
        deltas: (n,) nats.
        weights: (n,) in the mean loss.
    """

    def __init__(self, deltas: Floats, weights: Floats) -> None:
        self._deltas, self._weights = deltas, weights
        self._held = float(weights @ np.maximum(deltas, 0))
        self._mass = float(weights.sum())

    def share(
        self, name: str, members: Any, null: tuple[float, float, float], p_value: float | None = None
    ) -> Share:
        """What ``members`` (rows, slice or mask) hold, with what random sets hold: mean, low and high."""
        deltas, weights = self._deltas[members], self._weights[members]
        moved, mass = float(weights @ deltas), float(weights.sum())
        held = float(weights @ np.maximum(deltas, 0))
        return Share(
            name,
            len(deltas),
            held / self._held if self._held > 0 else 0.0,
            *null,
            change=moved / mass if mass > 0 else 0.0,
            contribution=moved / self._mass if self._mass > 0 else 0.0,
            p_value=p_value,
        )

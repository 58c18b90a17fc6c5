"""All examples at one checkpoint: who is worth comparing where there are too many to compare, and who else belongs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opsigcli.mining.opposition import both_degrees, directions, either
from opsigcli.progress import Progress, Task
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sketching = Callable[[Ints, Task], Gradients]

REFERENCES = 65_536  # examples that all others are held against, at most
PIECE = 4096  # examples of a unit; where they are tokens, of whole sequences, more or fewer


class Bounds(NamedTuple):
    """What a screening may take."""

    references: int  # examples that all others are held against: all of them, up to here
    kept: (
        float  # bytes of directions that wait beside the store; the others are computed again when asked for
    )


def cuts(total: int, sequences: Ints | None = None) -> Ints:
    """Where pieces of ``total`` examples begin, and where the last one ends.

    Args:
        total: N.
        sequences: (N,) the sequence of each example, where they are tokens: no piece begins within one.
    """
    begins = np.arange(0, total, PIECE)
    if sequences is not None:
        starts = np.append(np.flatnonzero(np.diff(sequences, prepend=-1)), total)
        begins = np.unique(starts[np.searchsorted(starts, begins)])
    return np.unique(np.append(begins, total))


class Screen:
    """Directions of all gradients at one checkpoint, kept in pieces beside the store while mining goes on.

    A piece holds sketches and output residuals of unit length, and the logarithm of the ratio of their lengths, in half
    precision, 2 (k + 1 + C) bytes an example; one piece is in memory at a time, and the references.

    Args:
        units: where pieces are kept.
        row: checkpoint of the trace.
        positions: of all examples with losses.
        sketch: gradients of some positions at that checkpoint, with a task that is advanced.
        dimensions: k.
        seed: draws the references.
        progress: says how far it is.
        cuts: where pieces of the positions begin, and where the last one ends.
        bounds: what it may take.
    """

    def __init__(
        self,
        units: Units,
        row: int,
        positions: Ints,
        sketch: Sketching,
        dimensions: int,
        seed: int,
        progress: Progress,
        cuts: Ints,
        bounds: Bounds,
    ) -> None:
        self.row = row
        self._units, self._positions, self._sketch = units, positions, sketch
        self._k, self._seed, self._progress, self._bounds = dimensions, seed, progress, bounds
        self._parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(cuts)]

    def pieces(self) -> Iterator[tuple[Ints, Floats, Floats]]:
        """Positions (B,), gradients per unit of residual (B, k) and residual directions (B, C), in order."""
        with self._progress.task("screening", len(self._positions), "example") as task:
            for part in self._parts:
                yield self._positions[part], *self._piece(part, task)

    def degree(self) -> Floats:
        """Opposition degree of every example by ``either`` similarity, (len(positions),).

        What is known of a piece is kept.
        """
        total, known = len(self._positions), {}
        for part in self._parts:
            found = self._units.read(self._key("opposed", part), (None, part.stop - part.start))
            if found is not None:
                known[part.start] = found
        if missing := [part for part in self._parts if part.start not in known]:
            drawn = np.random.default_rng(self._seed).permutation(total)[: self._bounds.references]
            number = np.full(total, -1)
            number[drawn] = np.arange(len(drawn))
            references = both_degrees(*self._drawn(drawn, number))
            with self._progress.task("opposition", total, "example") as task:
                task.advance(total - sum(part.stop - part.start for part in missing), note="kept")
                for part in missing:
                    rows = *self._piece(part, task), number[part]
                    known[part.start] = np.stack([kind.degree(*rows) for kind in references])
                    self._units.write(self._key("opposed", part), known[part.start])
        return either(np.concatenate([known[part.start] for part in self._parts], axis=1))

    def _drawn(self, drawn: Ints, number: Ints) -> tuple[Floats, Floats]:
        """Directions of the references, in the order of their numbers: out of the pieces, where all are kept."""
        total, first = len(self._positions), self._parts[0]
        with self._progress.task("screening", first.stop, "example") as task:
            outputs = self._piece(first, task)[1].shape[1]
        kept = np.empty((len(drawn), self._k), np.float32), np.empty((len(drawn), outputs), np.float32)
        if not self._fits(total, self._k + 1 + outputs):
            order = np.argsort(drawn)
            with self._progress.task("references", len(drawn), "example") as task:
                for at in range(0, len(drawn), PIECE):
                    some = order[at : at + PIECE]
                    key = f"reference-{self.row}-{at}"
                    found = self._kept(key, self._positions[drawn[some]], 0, task)
                    kept[0][some], kept[1][some] = self._unpacked(found)
            return kept
        for part, piece in zip(self._parts, self.pieces(), strict=True):
            inside = np.flatnonzero(number[part] >= 0)
            for rows, found in zip(kept, piece[1:], strict=True):
                rows[number[part][inside]] = found[inside]
        return kept

    def _piece(self, part: slice, task: Task) -> tuple[Floats, Floats]:
        """Gradients per unit of residual (B, k) and residual directions (B, C) of some positions."""
        return self._unpacked(self._kept(self._key("screened", part), self._positions[part], part.stop, task))

    def _unpacked(self, found: NDArray[np.float16]) -> tuple[Floats, Floats]:
        gradients, ratios, residuals = np.split(found.astype(np.float32), (self._k, self._k + 1), axis=1)
        return gradients * np.exp(ratios), residuals

    def _kept(self, key: str, positions: Ints, last: int, task: Task) -> NDArray[np.float16]:
        """Packed (B, k + 1 + C), from the disk or computed; then kept, if all up to the ``last`` example fit."""
        both = self._units.read(key, (len(positions), None))
        if both is not None:
            task.advance(len(positions), note="kept")
            return both
        found = self._sketch(positions, task)
        both = _packed(found)
        if self._fits(last, both.shape[1]):
            self._units.write(key, both)
        return both

    def _fits(self, examples: int, width: int) -> bool:
        """Whether so many examples, the first ones, may be kept."""
        return 2 * width * examples <= self._bounds.kept

    def _key(self, word: str, part: slice) -> str:
        return f"{word}-{self.row}-{part.start}"


def _packed(found: Gradients) -> NDArray[np.float16]:
    """Directions with the log ratio of their lengths between them; the ratio of what has no direction is 1."""
    parts = directions(found.sketch), directions(found.residuals)
    own, other = (np.linalg.norm(rows, axis=1) for rows in (found.sketch, found.residuals))
    known = np.all([rows.any(axis=1) for rows in parts], axis=0)
    ratios = np.log(np.divide(own, other, out=np.ones(len(known)), where=known))
    return np.concatenate([parts[0], ratios[:, None], parts[1]], axis=1).astype(np.float16)

"""All examples at few checkpoints: who is worth comparing where there are too many to compare, and who else belongs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opsigcli.mining.opposition import all_degrees, directions, either
from opsigcli.mining.similarity import Gradients
from opsigcli.progress import Progress, Task
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats, Ints

    Sketching = Callable[[Ints, Task], Gradients]

REFERENCES = 65_536  # examples that all others are held against, at most
MOST = 4  # checkpoints at which all examples are looked at
TENTH = 0.1  # of the forward passes that the trace took, for their gradients
PASSES = 3  # forward passes that a gradient takes
PIECE = 4096  # examples of a unit; where they are tokens, of whole sequences, more or fewer


class Bounds(NamedTuple):
    """What a screening may take."""

    references: int  # examples that all others are held against: all of them, up to here
    kept: (
        float  # bytes of directions that wait beside the store; the others are computed again when asked for
    )


def looked_at(rows: Sequence[int], traced: int) -> tuple[int, ...]:
    """The checkpoints at which all examples are looked at, evenly among those compared.

    As many, four at most, as let their gradients take a tenth of what the trace took: what is weak at one checkpoint
    rises out of what is peculiar to each.

    Args:
        rows: of the checkpoints compared.
        traced: checkpoints of the trace, a forward pass each.
    """
    count = int(np.clip(TENTH * traced / PASSES, 1, min(MOST, len(rows))))
    return tuple(rows[(2 * at + 1) * len(rows) // (2 * count)] for at in range(count))


def width(dimensions: int, checkpoints: int) -> int:
    """Dimensions that sketches are folded to where several checkpoints are looked at: errors average out over them."""
    return -(-dimensions // min(checkpoints, 2))


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
    """Directions of all gradients at few checkpoints, kept in pieces beside the store while mining goes on.

    A piece holds sketches and output residuals of unit length, and the logarithm of the ratio of their lengths, in half
    precision, ``2 (k' + 1 + C)`` bytes an example at each of R checkpoints, k' = k of one and k / 2 of several. One
    piece is in memory at a time, and the references.

    Args:
        units: where pieces are kept.
        rows: R checkpoints of the trace.
        positions: of all examples with losses.
        sketch: for a checkpoint gradients of some positions there, with a task that is advanced.
        dimensions: k.
        seed: draws the references.
        progress: says how far it is.
        cuts: where pieces of the positions begin, and where the last one ends.
        bounds: what it may take.
    """

    def __init__(
        self,
        units: Units,
        rows: Sequence[int],
        positions: Ints,
        sketch: Callable[[int], Sketching],
        dimensions: int,
        seed: int,
        progress: Progress,
        cuts: Ints,
        bounds: Bounds,
    ) -> None:
        self._units, self._positions, self._bounds = units, positions, bounds
        self._sketch = {row: sketch(row) for row in rows}
        self._k, self._seed, self._progress = width(dimensions, len(rows)), seed, progress
        self._parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(cuts)]

    def pieces(self) -> Iterator[tuple[Ints, list[Gradients]]]:
        """Positions (B,), in order, and at each checkpoint gradients per unit of residual and residuals of length 1."""
        with self._progress.task("screening", len(self._sketch) * len(self._positions), "gradient") as task:
            for part in self._parts:
                yield self._positions[part], self._piece(part, task)

    def degree(self) -> Floats:
        """Opposition degree of every example by ``either`` similarity, (len(positions),).

        What is known of a piece is kept.
        """
        total, known = len(self._positions), {}
        for part in self._parts:
            found = self._units.read(self._key("degrees", part), (None, part.stop - part.start))
            if found is not None:
                known[part.start] = found
        if missing := [part for part in self._parts if part.start not in known]:
            drawn = np.random.default_rng(self._seed).permutation(total)[: self._bounds.references]
            number = np.full(total, -1)
            number[drawn] = np.arange(len(drawn))
            references = all_degrees(self._drawn(drawn, number))
            with self._progress.task("opposition", len(self._sketch) * total, "gradient") as task:
                waiting = sum(part.stop - part.start for part in missing)
                task.advance(len(self._sketch) * (total - waiting), note="kept")
                for part in missing:
                    there = self._piece(part, task)
                    known[part.start] = np.stack([kind.degree(there, number[part]) for kind in references])
                    self._units.write(self._key("degrees", part), known[part.start])
        return either(np.concatenate([known[part.start] for part in self._parts], axis=1))

    def _drawn(self, drawn: Ints, number: Ints) -> list[Gradients]:
        """Directions of the references, in the order of their numbers: out of the pieces, where all are kept."""
        total, first = len(self._positions), self._parts[0]
        with self._progress.task("screening", len(self._sketch) * first.stop, "gradient") as task:
            outputs = self._piece(first, task)[0].residuals.shape[1]
        kept = [
            Gradients(
                row,
                np.empty((len(drawn), self._k), np.float32),
                np.ones(len(drawn), np.float32),
                np.empty((len(drawn), outputs), np.float32),
            )
            for row in self._sketch
        ]
        if not self._fits(len(self._sketch) - 1, total, self._k + 1 + outputs):
            order = np.argsort(drawn)
            with self._progress.task("references", len(kept) * len(drawn), "gradient") as task:
                for at in range(0, len(drawn), PIECE):
                    some = order[at : at + PIECE]
                    for among in kept:
                        key = f"reference-{among.checkpoint}-{at}"
                        _put(
                            among,
                            some,
                            self._kept(key, among.checkpoint, self._positions[drawn[some]], 0, task),
                        )
            return kept
        for part, (_, there) in zip(self._parts, self.pieces(), strict=True):
            inside = np.flatnonzero(number[part] >= 0)
            for among, found in zip(kept, there, strict=True):
                _put(among, number[part][inside], found.only(inside))
        return kept

    def _piece(self, part: slice, task: Task) -> list[Gradients]:
        """Gradients per unit of residual and residual directions of some positions, at each checkpoint."""
        positions = self._positions[part]
        return [
            self._kept(f"screened-{row}-{part.start}", row, positions, part.stop, task)
            for row in self._sketch
        ]

    def _kept(self, key: str, row: int, positions: Ints, last: int, task: Task) -> Gradients:
        """From the disk or computed; then kept, if all up to the ``last`` example fit."""
        both = self._units.read(key, (len(positions), None))
        if both is not None:
            task.advance(len(positions), note="kept")
            return self._unpacked(row, both)
        both = _packed(self._sketch[row](positions, task).folded(self._k))
        if self._fits(list(self._sketch).index(row), last, both.shape[1]):
            self._units.write(key, both)
        return self._unpacked(row, both)

    def _unpacked(self, row: int, both: NDArray[np.float16]) -> Gradients:
        gradients, ratios, residuals = np.split(both.astype(np.float32), (self._k, self._k + 1), axis=1)
        return Gradients(row, gradients * np.exp(ratios), np.ones(len(both), np.float32), residuals)

    def _fits(self, before: int, examples: int, width: int) -> bool:
        """Whether so many examples may be kept, the first ones, after all of them at some checkpoints ``before``."""
        return 2 * width * (before * len(self._positions) + examples) <= self._bounds.kept

    def _key(self, word: str, part: slice) -> str:
        return "-".join(map(str, (word, *self._sketch, part.start)))


def _put(among: Gradients, rows: Ints, found: Gradients) -> None:
    among.sketch[rows], among.residuals[rows] = found.sketch, found.residuals


def _packed(found: Gradients) -> NDArray[np.float16]:
    """Directions with the log ratio of their lengths between them; the ratio of what has no direction is 1."""
    parts = directions(found.sketch), directions(found.residuals)
    own, other = (np.linalg.norm(rows, axis=1) for rows in (found.sketch, found.residuals))
    known = np.all([rows.any(axis=1) for rows in parts], axis=0)
    ratios = np.log(np.divide(own, other, out=np.ones(len(known)), where=known))
    return np.concatenate([parts[0], ratios[:, None], parts[1]], axis=1).astype(np.float16)

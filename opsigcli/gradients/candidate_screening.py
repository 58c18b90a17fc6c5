"""All examples at one checkpoint: who is worth comparing where there are too many to compare, and who else belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opsigcli.mining.opposition import References, directions
from opsigcli.progress import Progress, Task
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sketching = Callable[[Ints, Task], Gradients]

REFERENCES = 65_536  # examples that all others are held against: all of them, up to here
PIECE = 4096  # examples of a unit


class Screen:
    """Directions of all gradients at one checkpoint, kept in pieces beside the store while mining goes on.

    A piece holds sketches and output residuals of unit length in half precision, 2 (k + C) bytes an example; one piece
    is in memory at a time, and the references.

    Args:
        units: where pieces are kept.
        row: checkpoint of the trace.
        positions: of all examples with losses.
        sketch: gradients of some positions at that checkpoint, with a task that is advanced.
        dimensions: k.
        seed: draws the references.
        progress: says how far it is.
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
    ) -> None:
        self.row = row
        self._units, self._positions, self._sketch = units, positions, sketch
        self._k, self._seed, self._progress = dimensions, seed, progress

    def pieces(self) -> Iterator[tuple[Ints, Floats, Floats]]:
        """Positions (B,), gradient (B, k) and residual directions (B, C), in order, computed where missing."""
        total = len(self._positions)
        missing = [at for at in range(0, total, PIECE) if not self._units.has(self._key(at))]
        if missing:
            with self._progress.task("screening", total, "example") as task:
                task.advance(total - sum(min(PIECE, total - at) for at in missing), note="kept")
                for at in missing:
                    self._compute(at, task)
        for at in range(0, total, PIECE):
            both = self._units.read(self._key(at), (min(PIECE, total - at), None))
            if both is None:  # damaged on the disk
                with self._progress.task("screening", min(PIECE, total - at), "example") as task:
                    both = self._compute(at, task)
            yield (
                self._positions[at : at + PIECE],
                both[:, : self._k].astype(np.float32),
                both[:, self._k :].astype(np.float32),
            )

    def degree(self) -> Floats:
        """Opposition degree of every example, (len(positions),)."""
        key = f"opposition-{self.row}"
        degree = self._units.read(key, (len(self._positions),))
        if degree is None:
            total = len(self._positions)
            drawn = np.random.default_rng(self._seed).permutation(total)[:REFERENCES]
            number = np.full(int(self._positions[-1]) + 1, -1)
            number[self._positions[drawn]] = np.arange(len(drawn))
            references = References(*self._drawn(number, len(drawn)))
            found = []
            with self._progress.task("opposition", total, "example") as task:
                for positions, gradients, residuals in self.pieces():
                    found.append(references.degree(gradients, residuals, number[positions]))
                    task.advance(len(positions))
            degree = np.concatenate(found)
            self._units.write(key, degree)
        return degree

    def _drawn(self, number: Ints, count: int) -> tuple[Floats, Floats]:
        """Directions of the references, in the order of their numbers."""
        kept: list[Floats] = []
        for positions, *parts in self.pieces():
            if not kept:
                kept = [np.empty((count, part.shape[1]), dtype=np.float32) for part in parts]
            inside = np.flatnonzero(number[positions] >= 0)
            for whole, part in zip(kept, parts, strict=True):
                whole[number[positions[inside]]] = part[inside]
        return kept[0], kept[1]

    def _compute(self, at: int, task: Task) -> NDArray[np.float16]:
        found = self._sketch(self._positions[at : at + PIECE], task)
        both = np.concatenate([directions(found.sketch), directions(found.residuals)], axis=1)
        half = both.astype(np.float16)
        self._units.write(self._key(at), half)
        return half

    def _key(self, at: int) -> str:
        return f"screen-{self.row}-{at}"

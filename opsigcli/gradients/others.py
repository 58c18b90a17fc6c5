"""The examples that are no candidates, asked whether they belong to the pairs that were found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.gradients.candidate_screening import PIECE
from opsigcli.mining.similarity import Gradients

if TYPE_CHECKING:
    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.records import Ints


class Others:
    """The examples that are no candidates, as ``extend.extend`` asks about them."""

    def __init__(self, sketches: Sketches, positions: Ints, examples: int) -> None:
        self.examples = examples
        self._sketches = sketches
        self._outside = np.zeros(examples, dtype=bool)
        self._outside[positions] = True

    def beside(self, positions: Ints, compared: Sequence[Gradients]) -> Sequence[Gradients]:
        """The candidates' gradients as those of the others are: of tokens in the last layer."""
        sketches = self._sketches
        if sketches.last_layer is None:
            return compared
        with sketches.progress.task("members", len(compared) * len(positions), "example") as task:
            return [sketches.screened(at.checkpoint)(positions, task) for at in compared]

    def pieces(self) -> Iterator[tuple[Ints, list[Gradients]]]:
        """All of them at the checkpoints that were screened."""
        for positions, there in self._sketches.screen().pieces():
            those = self._outside[positions]
            yield positions[those], [at.only(those) for at in there]

    def gradients(self, positions: Ints) -> Iterator[tuple[slice, Gradients]]:
        """Some of them at all checkpoints compared, in pieces."""
        sketches = self._sketches
        with sketches.progress.task("gradients", len(sketches.rows) * len(positions), "example") as task:
            for row in sketches.rows:
                sketch = sketches.screened(row)
                for at in range(0, len(positions), PIECE):
                    part = slice(at, at + PIECE)
                    yield part, sketch(positions[part], task)

    def once(self, of: Sequence[Ints], compute: Callable[[], Ints]) -> Ints:
        """What ``compute`` gives, kept as gradients are."""
        return self._sketches.once("joined", [part.tobytes() for part in of], compute)

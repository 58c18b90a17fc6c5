"""What a small step along a pair's direction does to the candidates, one compared checkpoint after the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.gradients.pieces import name_of
from opsigcli.gradients.sketch_store import Sketches

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints


class PairSwings:
    """Loss swings along the directions of pairs, as ``inputs.Swings`` has them; made where they are looked at.

    Args:
        sketches: keeps what is measured, and has the model.
    """

    def __init__(self, sketches: Sketches) -> None:
        self._sketches = sketches

    def __call__(self, first: Ints, second: Ints, watched: Ints) -> Iterator[Floats]:
        """Nats (M,) at each checkpoint compared, as ``directional_loss.swing`` says; inf where they are no numbers."""
        sketches, of = self._sketches, (first.tobytes(), second.tobytes(), watched.tobytes())
        name, shape = name_of("swings", of), (len(sketches.rows), len(watched))
        kept = np.array(sketches.kept.get(name, np.full(shape, np.nan, dtype=np.float32)))
        for at, row in enumerate(sketches.rows):
            if np.isnan(kept[at]).all():  # not looked at so far
                measure = partial(self._measured, row, first, second, watched)
                kept[at] = sketches.pieces("swing", (str(row).encode(), *of), measure)
                sketches.kept[name], sketches.new = kept, True
            yield kept[at]

    def _measured(self, row: int, first: Ints, second: Ints, watched: Ints) -> Floats:
        from opsigcli.derivatives.directional_loss import swing

        with self._sketches.progress.task("swings", 1, "checkpoint") as task:
            self._sketches.opened.load(row)
            found = swing(self._sketches.opened.objective, first, second, watched)
            task.advance()
        return np.asarray(np.where(np.isfinite(found), found, np.inf), dtype=np.float32)

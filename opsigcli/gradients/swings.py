"""What a small step along a pair's direction does to the candidates, at some of the compared checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.gradients.pieces import name_of
from opsigcli.gradients.sketch_store import Sketches

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

CHECKPOINTS = 3  # of those compared that are looked at: the middles of as many parts
OTHERS = 512  # candidates besides the members whose losses are watched, at most
CHOICE = f"{CHECKPOINTS} {OTHERS}".encode()


def looked_at(compared: int) -> list[int]:
    """Places of the checkpoints at which swings are measured, among those that are compared."""
    parts = min(CHECKPOINTS, compared)
    return [(2 * part + 1) * compared // (2 * parts) for part in range(parts)]


class PairSwings:
    """Loss swings along the directions of pairs, as ``inputs.Swings`` has them; made where they are looked at.

    Args:
        sketches: keeps what is measured, and has the model.
    """

    def __init__(self, sketches: Sketches) -> None:
        self._sketches = sketches

    def __call__(self, first: Ints, second: Ints, watched: Ints) -> Iterator[Floats]:
        """Nats (M,) at some checkpoints, as ``directional_loss.swing`` says; inf where they are no numbers.

        Of more than ``OTHERS`` that are no members, so many are drawn; the drawn stand for all of them in sums, by
        swings that are larger in that proportion, and the rest is 0.
        """
        sketches, of = self._sketches, (CHOICE, first.tobytes(), second.tobytes(), watched.tobytes())
        name, shape = name_of("swings", of), (len(sketches.rows), len(watched))
        kept = np.array(sketches.kept.get(name, np.full(shape, np.nan, dtype=np.float32)))
        for at in looked_at(len(sketches.rows)):
            row = sketches.rows[at]
            if np.isnan(kept[at]).all():  # not looked at so far
                measure = partial(self._measured, row, first, second, watched)
                kept[at] = sketches.pieces("swing", (str(row).encode(), *of), measure)
                sketches.kept[name], sketches.new = kept, True
            yield kept[at]

    def _measured(self, row: int, first: Ints, second: Ints, watched: Ints) -> Floats:
        from opsigcli.derivatives.directional_loss import swing

        member = np.isin(watched, np.concatenate([first, second]))
        others = np.flatnonzero(~member)
        drawn = np.sort(np.random.default_rng(self._sketches.options.seed).permutation(others)[:OTHERS])
        at = np.concatenate([np.flatnonzero(member), drawn])
        stands_for = np.where(member[at], 1.0, len(others) / max(len(drawn), 1))
        with self._sketches.progress.task("swings", 1, "checkpoint") as task:
            self._sketches.opened.load(row)
            found = stands_for * swing(self._sketches.opened.objective, first, second, watched[at])
            task.advance()
        whole = np.zeros(len(watched), dtype=np.float32)
        whole[at] = np.where(np.isfinite(found), found, np.inf)
        return whole

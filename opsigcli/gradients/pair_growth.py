"""How much a swing along a pair's direction should grow from step to step, from the curvature there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import OpsigError
from opsigcli.gradients.pair_curvature import along, can_be_opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.records import Floats, Ints

# Rules whose step is −η times the gradient, without momentum, weight decay and clipping.
PLAIN = "gd", "sgd"
# Statistics of BatchNorm that training moved. A pair's direction is of gradients at fixed ones: on a small CNN, whose
# swing grew 1.94 times a step (|1 − η λ₁| was 1.8), |1 − η uᵀHu| was .2 with H through them, and 5.6 with them fixed.
MOVED = "batch", "re-estimate"


class PairGrowth:
    """``|1 − η uᵀHu|`` of a pair at some checkpoints, u ∝ mean g_A − mean g_B, as ``inputs.Growth`` has it.

    A step of gradient descent takes a displacement x along an eigenvector of curvature h to (1 − η h) x.

    Args:
        sketches: keeps what is measured, and has the model where it was opened.
    """

    def __init__(self, sketches: Sketches) -> None:
        self._sketches = sketches

    def __call__(self, sides: tuple[Ints, Ints], rows: Sequence[int]) -> Floats | None:
        """One number for each checkpoint; None where the rule is no plain descent, or steps lie between rows.

        Nor is anything predicted where training moved BatchNorm's statistics.

        Args:
            sides: positions of the pair's two groups.
            rows: checkpoints of the trace.
        """
        sketches = self._sketches
        steps = sketches.store.file["steps"]
        if any(int(steps[row + 1]) - int(steps[row]) != 1 for row in rows):
            return None
        mode = sketches.options.batch_norm or sketches.store.run.batch_norm
        if mode in MOVED:
            return None
        of = [str(list(rows)).encode(), sides[0].tobytes(), sides[1].tobytes()]
        if not sketches.knows("growth", of) and not all(can_be_opened(sketches, row) for row in rows):
            return None

        def measure() -> NDArray[np.float64]:
            found = []
            for row in rows:
                rate = self._rate(row)
                if rate is None:
                    return np.zeros(0)
                sketches.opened.load(row)
                found.append(abs(1 - rate * along(sketches.opened, *sides, mode)))
            return np.array(found)

        kept = sketches.once("growth", of, measure)
        return np.asarray(kept, dtype=np.float64) if len(kept) else None

    def _rate(self, row: int) -> float | None:
        """The learning rate of plain full-batch descent at a checkpoint; None for other rules, or where unknown."""
        from opsigcli.gradients.fork import fork

        try:
            tuning = fork(self._sketches.opened, row)
        except OpsigError:
            return None
        plain = all(
            part.name in PLAIN and not part.hyper.get("momentum") and not part.hyper.get("weight_decay")
            for part in tuning.parts
        )
        batch = self._sketches.opened.run.batch_size
        whole = batch is None or batch >= self._sketches.opened.objective.n
        return tuning.lr if plain and whole and tuning.clip is None else None

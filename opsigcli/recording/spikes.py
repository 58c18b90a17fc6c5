"""Whether a training loss has just jumped."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

WINDOW, FEWEST = 50, 10  # losses that a jump is held against
DEVIATIONS, SHARE = 6.0, 0.02  # robust standard deviations, and share of the loss, that it has to exceed


class Jumps:
    """Watches a loss step by step.

    A loss jumps where it lies above the median m of the last losses by more than 6 robust standard deviations,
    ``1.4826 · median |ℓ − m|``, and by more than 2 % of m; or where it is not finite. The deviation knows
    how much losses of minibatches scatter.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)

    def jumped(self, loss: float) -> bool:
        """Whether this loss is a jump; it is kept for the next ones, unless it is."""
        if not math.isfinite(loss):
            return True
        if len(self._last) >= FEWEST:
            known = np.array(self._last)
            middle = float(np.median(known))
            spread = 1.4826 * float(np.median(np.abs(known - middle)))
            if loss - middle > max(DEVIATIONS * spread, SHARE * abs(middle)):
                return True
        self._last.append(loss)
        return False

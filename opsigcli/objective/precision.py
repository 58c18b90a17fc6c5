"""Whether a lower precision of the forward pass leaves the loss deltas readable."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
LARGEST_SHARE = 0.1  # of the typical loss delta that the error may be


class PrecisionCheck(NamedTuple):
    """Error of a precision against the signal, at two neighbouring checkpoints on one batch."""

    error: float  # nats: median over examples of the error of the loss delta
    delta: float  # nats: median over examples of |ℓ(t+1) − ℓ(t)|, both in float32

    @property
    def share(self) -> float:
        """Error ÷ delta; infinite where nothing changes."""
        return self.error / self.delta if self.delta > 0 else float("inf")

    @property
    def drowns(self) -> bool:
        """The error is too large a share of the signal, or neither is a number."""
        return not self.share <= LARGEST_SHARE


def check_precision(exact: tuple[Float32s, Float32s], low: tuple[Float32s, Float32s]) -> PrecisionCheck:
    """Compare losses (B,) at two checkpoints, in float32 and in the lower precision.

    The error counted is that of the delta: ``median |(ℓ'_low − ℓ_low) − (ℓ' − ℓ)|``, as errors that do not change
    between checkpoints do no harm.
    """
    delta = exact[1].astype(np.float64) - exact[0]
    off = low[1].astype(np.float64) - low[0] - delta
    finite = np.isfinite(delta)
    if not finite.any():
        return PrecisionCheck(float("nan"), float("nan"))
    return PrecisionCheck(float(np.median(np.abs(off[finite]))), float(np.median(np.abs(delta[finite]))))

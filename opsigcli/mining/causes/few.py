"""The few examples that hold a rise by themselves, where there are such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.mining.causes.rises import Rises
    from opsigcli.records import Ints

MOST = 6  # examples: as many as a report shows
PART = 0.01  # of all examples, at most
HALF = 0.5  # of the rise, at least


def by_few(rises: Rises, spike: int) -> tuple[Ints, float]:
    """The smallest set of examples that holds half of a rise, and its share; none where that takes many.

    The k largest ``w max(Δℓ, 0)``, k the least for which they add up to half of all, if k is at most 6 and at most
    1 % of the examples. These are sums of measured losses: nothing is drawn, and of other examples it says nothing.

    Args:
        rises: the spikes.
        spike: which one.

    Returns:
        Rows of ``rises`` (k,), the largest first, and their share of the rise.
    """
    held = rises.held[spike]
    whole, most = float(held.sum()), min(MOST, int(PART * len(held)))
    order = np.argsort(-held, kind="stable")[:most].astype(np.int64)
    if not (np.isfinite(whole) and whole > 0 and len(order)):
        return order[:0], 0.0
    shares = np.cumsum(held[order]) / whole
    enough = np.flatnonzero(shares >= HALF)
    return (order[: enough[0] + 1], float(shares[enough[0]])) if len(enough) else (order[:0], 0.0)

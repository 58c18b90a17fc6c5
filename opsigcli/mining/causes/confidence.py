"""How sure the network was of the examples whose loss rose, at the checkpoint before; from losses alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.causes.rises import Parted

if TYPE_CHECKING:
    from opsigcli.mining.causes.rises import Rises
    from opsigcli.spike_records import Share

QUANTILE = 1.96  # standard deviations to 2.5 % on either side
ROUNDING = 1e-6  # of p, from losses in float32: a network that says nothing yet (p = 1/C) is not wrong


def by_confidence(rises: Rises, spike: int, classes: int) -> tuple[Share, ...]:
    """What examples hold by the probability p = exp(−ℓ) of their class before the rise; the shares add up to 1.

    The margin p − max of the others lies between 2p − 1 and p − (1 − p)/(C − 1): with p > ½ an example was surely
    right, with p < 1/C surely wrong. The null has as many random examples of every class in each part (mean and
    deviation of sums without replacement are exact, their distribution is taken as normal).

    Args:
        rises: the spikes; losses are cross-entropies in nats.
        spike: which one.
        classes: C, classes of the model's outputs.
    """
    p = np.exp(-rises.before[spike])
    right, wrong = p > 0.5 + ROUNDING, p < 1 / classes - ROUNDING
    between = "p = 1/2" if classes == 2 else f"1/{classes} \u2264 p \u2264 1/2"
    parts = {
        "surely right before (p > 1/2)": right,
        f"in doubt before ({between})": ~right & ~wrong,
        f"surely wrong before (p < 1/{classes})": wrong & ~right,
    }
    held, sizes = rises.held[spike], np.maximum(rises.sizes, 1)
    whole = float(held.sum())
    mean = np.bincount(rises.classes, held, minlength=len(sizes)) / sizes
    square = np.bincount(rises.classes, held**2, minlength=len(sizes)) / sizes
    variance = np.maximum(square - mean**2, 0)
    parted = Parted(rises.deltas[spike], rises.weights)
    found = []
    for name, inside in parts.items():
        n = np.bincount(rises.classes[inside], minlength=len(sizes))
        middle = float(n @ mean / whole) if whole > 0 else 0.0
        spread = (
            np.sqrt((n * (sizes - n) / np.maximum(sizes - 1, 1) * variance).sum()) / whole
            if whole > 0
            else 0.0
        )
        low, high = (float(np.clip(middle + side * QUANTILE * spread, 0, 1)) for side in (-1, 1))
        found.append(parted.share(name, inside, (middle, low, high)))
    return tuple(found)

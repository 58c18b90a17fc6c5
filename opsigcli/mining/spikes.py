"""Sudden rises of the mean loss, and their attribution to groups of examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining_records import (
    REST,
    Spike,
)
from opsigcli.spike_records import FEWEST_CHANGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining_records import (
        GroupKey,
    )
    from opsigcli.records import Floats, Ints

SIGMAS = 6.0  # robust standard deviations of the mean loss's steps
SMALLEST_RISE = 0.02  # of the loss before it


def find_spikes(mean_losses: Floats) -> list[tuple[int, int]]:
    """Sudden rises of the mean loss: from the bottom to the top of each uninterrupted climb that stands out.

    A climb stands out if it exceeds six robust standard deviations (1.4826 × the median absolute deviation
    from the median) of all steps of the mean loss, and 2 % of the loss at its bottom.

    Args:
        mean_losses: (T,) nats; NaN = not measured, and ends a climb.

    Returns:
        Checkpoint indices (bottom, top), in order.
    """
    changes = np.diff(mean_losses)
    finite = changes[np.isfinite(changes)]
    if len(finite) < FEWEST_CHANGES:
        return []
    scale = 1.4826 * float(np.median(np.abs(finite - np.median(finite))))
    return [
        (bottom, top)
        for bottom, top in _climbs(mean_losses)
        if mean_losses[top] - mean_losses[bottom] > SIGMAS * scale
    ]


def largest_climb(mean_losses: Floats) -> tuple[int, int] | None:
    """The largest uninterrupted climb of the mean loss, (bottom, top); None where none is above 2 % of its bottom."""
    return max(
        _climbs(mean_losses), key=lambda rows: mean_losses[rows[1]] - mean_losses[rows[0]], default=None
    )


def _climbs(mean_losses: Floats) -> list[tuple[int, int]]:
    """Bottom and top of each uninterrupted climb above 2 % of the loss at its bottom."""
    changes = np.diff(mean_losses)
    found = []
    t = 0
    while t < len(changes):
        if not changes[t] > 0:
            t += 1
            continue
        bottom = t
        while t < len(changes) and changes[t] > 0:
            t += 1
        if mean_losses[t] - mean_losses[bottom] > SMALLEST_RISE * abs(mean_losses[bottom]):
            found.append((bottom, t))
    return found


def attribute_spikes(
    losses: Any,
    mean_losses: Floats,
    steps: Ints,
    groups: Mapping[GroupKey, Ints],
    weights: Floats | None = None,
    counted: NDArray[np.bool_] | None = None,
    rows: Sequence[tuple[int, int]] | None = None,
) -> tuple[Spike, ...]:
    """For every spike, each group's share of ``Σ_i w_i max(Δℓ_i, 0)``, Δℓ from the bottom to the top.

    A spike is a catapult if the mean loss later comes back to where the climb began, a divergence if it ends above
    the top or is not finite at the end, and unresolved otherwise. The shares of the groups and of the rest add up to 1:
    an example in several groups counts in equal parts for each. (Shares of the net rise do not help: they divide by a
    small difference of large sums.)

    Args:
        losses: (T, N) nats, array or h5py dataset.
        mean_losses: (T,) nats.
        steps: (T,) optimizer updates.
        groups: positions of each group.
        weights: (N,) w, of each example in the mean loss; None = all alike.
        counted: (N,) the examples that the mean loss is over; None = those with a loss at bottom and top.
        rows: (bottom, top) of each; None = the sudden rises.

    Returns:
        Spikes in order.
    """
    spikes = []
    counts = np.zeros(losses.shape[1], dtype=np.int64)
    for positions in groups.values():
        counts[positions] += 1
    parts = 1 / np.maximum(counts, 1)  # of an example in each of its groups
    for bottom, top in find_spikes(mean_losses) if rows is None else rows:
        with np.errstate(invalid="ignore"):  # inf − inf is NaN, which holds nothing
            delta = np.asarray(losses[top], dtype=np.float64) - np.asarray(losses[bottom], dtype=np.float64)
        up = np.where(np.isfinite(delta), np.maximum(delta, 0), 0)
        up = up if counted is None else up * counted
        up = up if weights is None else weights * up
        whole = float(up.sum())
        shares = {key: float(up[at] @ parts[at]) / whole for key, at in groups.items()}
        shares[REST] = float(up[counts == 0].sum()) / whole
        rise = float(mean_losses[top] - mean_losses[bottom])
        kind = _kind(mean_losses, bottom, top)
        spikes.append(Spike(int(steps[bottom]), int(steps[top]), rise, shares, kind))
    return tuple(spikes)


def _kind(mean_losses: Floats, bottom: int, top: int) -> str:
    """A catapult comes back to where it started; a divergence ends above its top, or not finite."""
    after = mean_losses[top + 1 :]
    if (after <= mean_losses[bottom]).any():
        return "catapult"
    if len(after) and (not np.isfinite(after[-1]) or after[-1] >= mean_losses[top]):
        return "divergence"
    return "unresolved"

"""Period two: losses that change their direction at every update, as they do past the edge of stability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

# So many changes of sign in so many steps, of a difference of two groups' mean losses; the swing may slip, as where
# another direction takes over. Where losses are noise about a smooth course, a run of 300 updates has either by chance
# about three times in a hundred runs.
CHANGES = ((20, 20), (36, 40))
LEAST = 1e-3  # nats, root mean square of the difference's deltas


def period_two(deltas: Floats) -> Ints:
    """Where stretches of period two begin: deltas from t − 1 on alternate in sign, and are not small.

    All of 20 changes of sign from there on happen, or 36 of 40, the first two among them. The first delta may belong
    to the course before: so t is never before the first swing.

    Args:
        deltas: (S,) of the difference of two groups' mean losses, from update to update, nats; NaN = unknown, or more
            than one update apart.

    Returns:
        Increasing indices of deltas, and of the checkpoints before them; none in a run without period two.
    """
    turns, squares = deltas[1:] * deltas[:-1] < 0, np.nan_to_num(deltas) ** 2  # NaN compares as False
    begins = np.zeros(len(deltas) + 1, dtype=bool)
    for changes, of in CHANGES:
        if len(deltas) <= of:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(turns, of)
        size = np.lib.stride_tricks.sliding_window_view(squares, of + 1).mean(axis=1)
        begin = windows[:, :2].all(axis=1) & (windows.sum(axis=1) >= changes) & (size > LEAST**2)
        begins[1 : 1 + len(begin)] |= begin
    return np.flatnonzero(begins).astype(np.int64)

"""One number for those at several checkpoints: their mean, or the mean of the middle half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats


def of_middle(few: Sequence[bool]) -> bool:
    """Whether the middle half counts: where gradients differ in few directions at a quarter of the checkpoints.

    In networks that pool, a pair that opposes at six of eight checkpoints may agree as strongly at the others, and
    what a few checkpoints have in common brings together who never meets again. Elsewhere the two sides of a pair are
    seldom large at the same checkpoint, and the few where they are say all there is.

    Args:
        few: of each checkpoint, whether gradients differ in few directions (``evened.Evened.few``).
    """
    return 4 * sum(few) >= len(few)


def middle(values: Floats) -> Floats:
    """Mean of the middle half along the first axis, the interquartile mean: a quarter less at either end, rounded down.

    Args:
        values: (T, ·), one row for each checkpoint; of fewer than four all count.
    """
    fewer = len(values) // 4
    return np.asarray(np.sort(values, axis=0)[fewer : len(values) - fewer].mean(axis=0))


def over_checkpoints(values: Floats, few: Sequence[bool]) -> Floats:
    """Of the values (T, ·) at each checkpoint their mean, or that of their middle half (``of_middle``)."""
    return middle(values) if of_middle(few) else np.asarray(values.mean(axis=0))

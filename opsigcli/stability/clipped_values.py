"""Gradients whose entries were clipped one by one, as ``clip_grad_value_`` does."""

from __future__ import annotations

import math

from torch import Tensor

AT_LIMIT = 3  # entries stand at the limit, at least: any one entry that is off has some limit


def limit_of(made: Tensor, gradient: Tensor) -> float:
    """The limit c in ``clip(g, −c, c)``; NaN where no entries of the gradient lie beyond the largest one made.

    Whether all the entries are those of the clipped gradient is left to whoever asks.

    Args:
        made: (P,) the gradient that a step was made by.
        gradient: g (P,).
    """
    sizes = made.abs()
    beyond = gradient.abs() >= sizes.max()
    return float(sizes[beyond].median()) if int(beyond.sum()) >= AT_LIMIT else math.nan


def limit_told(limit: float) -> str:
    """The cause in words."""
    return f"gradients clipped by value to {limit:.3g} (clip_grad_value_)"

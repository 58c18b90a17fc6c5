"""The usual cosine of two gradients for that of their output residuals, and what a cosine has beyond it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.usual_gradient import REFERENCES

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

BINS = 20
ROOM = 0.02  # least room between the baseline and ±1 that an excess is measured by; sketches err by about as much


def baseline(
    gradient_cosine: Floats,
    residual_cosine: Floats,
    rng: np.random.Generator,
    among: Ints | None = None,
) -> tuple[Floats, Floats]:
    """The usual gradient cosine f of two examples with a given residual cosine, as points between which it runs.

    ``f(r)`` is the median gradient cosine in 20 quantile bins of the residual cosine over pairs of 700 random
    examples, interpolated between the bins' medians.

    Args:
        gradient_cosine: (M, M).
        residual_cosine: (M, M).
        rng: draws the random examples.
        among: rows to draw from (default: all). Candidates chosen for their opposition would pass for usual.

    Returns:
        Residual cosines, increasing, and f there.
    """
    some = rng.permutation(len(gradient_cosine) if among is None else among)[:REFERENCES]
    inside = np.ix_(some, some)
    return usual_cosine(gradient_cosine[inside], residual_cosine[inside])


def excess(cosine: Floats, usual: Floats) -> Floats:
    """What a gradient cosine has beyond the usual one, as a share of the room that was left to it.

    ``(c − f) / (1 − f)`` above the usual cosine f, ``(c − f) / (1 + f)`` below it: 1 for parallel and −1 for opposite
    gradients. In convolutional networks gradients of one class have cosines near 1 whatever their inputs share; a
    plain difference could not tell members of a group from the others there.
    """
    more = cosine - usual
    return np.asarray(more / np.maximum(np.where(more > 0, 1 - usual, 1 + usual), ROOM))


def usual_cosine(gradient_cosine: Floats, residual_cosine: Floats) -> tuple[Floats, Floats]:
    """The points between which f is interpolated: residual cosines, increasing, and gradient cosines.

    Args:
        gradient_cosine: (R, R) of the reference examples.
        residual_cosine: (R, R).
    """
    upper = _upper(len(gradient_cosine))
    r, c = residual_cosine.ravel()[upper], gradient_cosine.ravel()[upper]
    order = _increasing(r)
    bins = [part for part in np.array_split(r[order], BINS) if len(part)]
    levels = np.array_split(c[order], BINS)
    # Tied residuals share one level. Cosines of parallel ones differ by rounding, and by it alone.
    centres, inverse = np.unique(np.round([np.median(part) for part in bins], 5), return_inverse=True)
    tied = [
        [level for level, of in zip(levels, inverse, strict=False) if of == number]
        for number in range(len(centres))
    ]
    return centres, np.array([np.median(np.concatenate(several)) for several in tied])


@lru_cache(maxsize=2)  # of all examples that are drawn, and of those in half of the candidates
def _upper(size: int) -> Ints:
    """Where the upper half of a square matrix without its diagonal lies in it, row after row."""
    rows, columns = np.triu_indices(size, 1)
    return np.asarray(rows * size + columns)


def _increasing(values: Floats) -> Ints:
    """Which value comes first, second …, ties as they stand: ``argsort(kind="stable")`` at a third of its time.

    Bits of a float32 that are turned round where it is negative increase as it does. With the place in the lower half
    of a word no two are alike, so that any sort will do, and NumPy's is made of vector instructions.
    """
    if values.dtype != np.float32:
        return np.argsort(values, kind="stable")
    bits = (values + np.float32(0)).view(np.uint32)  # -0 and 0 are tied
    increasing = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    words = (increasing.astype(np.uint64) << 32) | np.arange(len(values), dtype=np.uint64)
    words.sort()
    return (words & np.uint64(2**32 - 1)).astype(np.int64)

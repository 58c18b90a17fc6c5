"""The usual cosine of two gradients for that of their output residuals, and what a cosine has beyond it."""

from __future__ import annotations

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
    upper = np.triu_indices(len(gradient_cosine), 1)
    r, c = residual_cosine[upper], gradient_cosine[upper]
    order = np.argsort(r, kind="stable")
    bins = [b for b in np.array_split(order, BINS) if len(b)]
    # Tied residuals share one level. Cosines of parallel ones differ by rounding, and by it alone.
    centres, inverse = np.unique(np.round([np.median(r[b]) for b in bins], 5), return_inverse=True)
    tied = [
        [b for b, of in zip(bins, inverse, strict=True) if of == number] for number in range(len(centres))
    ]
    return centres, np.array([np.median(c[np.concatenate(several)]) for several in tied])

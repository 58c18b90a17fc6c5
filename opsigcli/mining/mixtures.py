"""Similarities with tails as long as they are and nobody apart: the examples of each class mixed two by two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.similarity import STRIP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

    Both = tuple[NDArray[Any], NDArray[Any]]

SHORTEST = 0.05  # squared length of a mixture, at least, by which it is scaled back to 1


def mixed(similarity: Floats, labels: Ints, rng: np.random.Generator) -> Floats:
    """S where each two examples of a class are turned into one another by an angle of their own.

    With d the features less their class mean, ``d_i → cos θ d_i + sin θ d_j`` and ``d_j → cos θ d_j − sin θ d_i`` for
    random couples (i, j) of a class and θ uniform, and the mean of all d taken out again. Means and covariances of
    classes stay as they are. Who reached far along some direction reaches any part of that, so that a group becomes a
    tail with others all the way between. Tails stay long: those of power 2 as they are, of steeper ones some is lost,
    the least of all mixtures of as many or more. Where features are Gaussian a run is distributed as its mixtures, and
    these are nearer to it than they are to one another, so that its rank among them says no more than it should.

    Args:
        similarity: (M, M), its diagonal taken as 1.
        labels: (M,).
        rng: draws couples and angles; of an odd number one example stays as it is.

    Returns:
        (M, M), scaled back to a diagonal of 1; zero diagonal.
    """
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.lexsort((rng.random(len(of)), of))
    place, last = (
        np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts),
        np.repeat(counts, counts),
    )
    first = np.flatnonzero((place % 2 == 0) & (place + 1 < last))
    couples = order[first], order[first + 1]
    angles = rng.uniform(0, 2 * np.pi, (len(first), 1)).astype(np.float32)
    share = np.zeros((len(counts), len(of)), dtype=np.float32)  # takes means of classes
    share[of, np.arange(len(of))] = 1 / counts[of]
    whole: Floats = np.array(similarity, dtype=np.float32, order="C")
    np.fill_diagonal(whole, 1)
    _mix(whole, couples, (np.cos(angles), np.sin(angles)), share, of)
    whole = np.ascontiguousarray(whole.T)
    _mix(whole, couples, (np.cos(angles), np.sin(angles)), share, of)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(whole), SHORTEST))
    for start in range(0, len(whole), STRIP):
        whole[start : start + STRIP] *= scale[start : start + STRIP, None] * scale
    np.fill_diagonal(whole, 0)
    return whole


def _mix(rows: Floats, couples: Both, turns: Both, share: Floats, of: Ints) -> None:
    """Rows (M, ·) turned two by two about the means of their classes, strip by strip in place."""
    means = share @ rows
    _add(rows, -means, of)
    for start in range(0, len(couples[0]), STRIP):
        strip = slice(start, start + STRIP)
        (i, j), (cos, sin) = (each[strip] for each in couples), (each[strip] for each in turns)
        one, other = rows[i], rows[j]
        rows[i] = cos * one + sin * other
        rows[j] = cos * other - sin * one
    _add(rows, means - share @ rows, of)


def _add(rows: Floats, means: Floats, of: Ints) -> None:
    for start in range(0, len(rows), STRIP):
        rows[start : start + STRIP] += means[of[start : start + STRIP]]

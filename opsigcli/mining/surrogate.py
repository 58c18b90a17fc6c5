"""What the search itself finds where there are no groups: the same similarities, rotated within each class."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.inputs import compute_now
from opsigcli.mining.proposals import propose
from opsigcli.mining.starts import Starts
from opsigcli.progress import Task

if TYPE_CHECKING:
    from opsigcli.mining.inputs import Keep
    from opsigcli.records import Floats, Ints

STARTS = 100  # of the search in a surrogate
ENOUGH = 10  # surrogates as clear as the clearest pair of the run, after which no more are made


def rotated(similarity: Floats, labels: Ints, rng: np.random.Generator) -> Floats:
    """S after a random rotation within each class that leaves the class mean where it is.

    ``R S Rᵀ`` with R block-diagonal over classes, each block orthogonal and fixing the vector of ones: means and
    covariances of the classes stay, clusters and tails go. Entries are scaled back to cosines.

    Args:
        similarity: (M, M), zero diagonal.
        labels: (M,).
        rng: draws the rotations.

    Returns:
        (M, M), zero diagonal.
    """
    order = np.argsort(labels, kind="stable")
    whole: Floats = np.asarray(similarity, dtype=np.float32)[np.ix_(order, order)]
    np.fill_diagonal(whole, 1)
    end = 0
    for size in np.unique(labels, return_counts=True)[1]:
        start, end = end, end + int(size)
        turn = _rotation(int(size), rng)
        whole[start:end] = turn @ whole[start:end]
        whole[:, start:end] = whole[:, start:end] @ turn.T
    size = np.sqrt(np.maximum(np.diagonal(whole), 0.05))
    whole /= size
    whole /= size[:, None]
    back = np.argsort(order)
    whole = whole[np.ix_(back, back)]
    whole += whole.T
    whole /= 2
    np.fill_diagonal(whole, 0)
    return whole


def clearest_by_chance(
    similarity: Floats,
    labels: Ints,
    count: int,
    seed: int,
    task: Task | None = None,
    keep: Keep = compute_now,
    clearest: float = np.inf,
) -> Floats:
    """Clarity of the clearest pair that the search finds in each of up to ``count`` surrogates.

    Once 10 surrogates are at least as clear as ``clearest``, the clearest pair of the run, no more are made: its
    p-value is then known well enough to be no finding.

    Reference:
        Besag & Clifford 1991, Sequential Monte Carlo p-values.
    """
    of = [hashlib.sha256(np.ascontiguousarray(each).data).digest() for each in (similarity, labels)]
    best: Floats = np.zeros(count)
    for number in range(count):
        if (best[:number] >= clearest).sum() >= ENOUGH:
            return best[:number]
        drawn = [seed, number]
        best[number] = keep(
            "surrogate", [*of, str(drawn).encode()], partial(_clearest, similarity, labels, drawn)
        )
        if task is not None:
            task.advance()
    return best


def _clearest(similarity: Floats, labels: Ints, drawn: list[int]) -> Floats:
    """Clarity of the clearest pair in one surrogate, ()."""
    surrogate = rotated(similarity, labels, np.random.default_rng(drawn))
    found = propose(Starts(surrogate, STARTS), STARTS)
    return np.array(max((p.score for p in found if p.holds), default=0.0))


def _rotation(size: int, rng: np.random.Generator) -> Floats:
    """A random orthogonal matrix that fixes the vector of ones, (size, size)."""
    if size < 3:
        return np.eye(size, dtype=np.float32)
    # An orthonormal basis whose first vector is that of ones; the others are turned at random.
    start = rng.standard_normal((size, size))
    start[:, 0] = 1
    basis = np.linalg.qr(start)[0]
    turn = np.linalg.qr(rng.standard_normal((size - 1, size - 1)))[0]
    others = basis[:, 1:]
    return np.asarray(np.outer(basis[:, 0], basis[:, 0]) + others @ turn @ others.T, dtype=np.float32)

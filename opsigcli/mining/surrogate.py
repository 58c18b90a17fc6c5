"""What the search itself finds where there are no groups: the same similarities, rotated within each class."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.discovery import discoveries
from opsigcli.mining.inputs import compute_now
from opsigcli.mining.proposals import propose
from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.starts import Starts
from opsigcli.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.inputs import Keep
    from opsigcli.records import Floats, Ints

STARTS = 100  # of the search in a surrogate
ENOUGH = 10  # surrogates as clear as the clearest pair of the run, after which no more are made
MOST = 499  # surrogates, where a finding hangs on more than were asked for
IDLE = 19  # surrogates where no pair stands apart: there is no finding to be made


def rotated(similarity: Floats, labels: Ints, rng: np.random.Generator) -> Floats:
    """S after a random rotation within each class that leaves the class mean where it is.

    ``R S Rᵀ`` with R block-diagonal over classes, each block orthogonal and fixing the vector of ones: means and
    covariances of the classes stay, clusters and tails go. Entries are scaled back to cosines.

    Args:
        similarity: (M, M), zero diagonal.
        labels: (M,), increasing.
        rng: draws the rotations.

    Returns:
        (M, M), zero diagonal.
    """
    whole: Floats = np.array(similarity, dtype=np.float32)
    np.fill_diagonal(whole, 1)
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])
    turns = [_rotation(int(size), rng) for size in np.diff(ends, prepend=0)]
    # S is symmetric: the blocks above the diagonal are enough, and half of the work.
    for end, turn in zip(ends, turns, strict=True):
        start = end - len(turn)
        whole[start:end, start:] = turn @ whole[start:end, start:]
    for end, turn in zip(ends, turns, strict=True):
        start = end - len(turn)
        whole[:end, start:end] = whole[:end, start:end] @ turn.T
    for end, turn in zip(ends, turns, strict=True):
        whole[end:, end - len(turn) : end] = whole[end - len(turn) : end, end:].T
        block = whole[end - len(turn) : end, end - len(turn) : end]
        block += block.T.copy()
        block /= 2
    size = np.sqrt(np.maximum(np.diagonal(whole), 0.05))
    whole /= np.outer(size, size)
    np.fill_diagonal(whole, 0)
    return whole


def clearest_by_chance(
    similarity: Floats,
    labels: Ints,
    count: int,
    seed: int,
    progress: Progress = SILENT,
    keep: Keep = compute_now,
    clearest: float = np.inf,
    apart: Sequence[float] = (),
    rate: float = 0.0,
) -> Floats:
    """Clarity of the clearest pair that the search finds in each of ``count`` surrogates, or of fewer, or more.

    Once 10 surrogates are at least as clear as ``clearest``, the clearest pair of the run, no more are made: its
    p-value is then known well enough to be no finding. Up to 499 are made where a pair is clearer than all of them and
    only their number keeps it from being a finding; no more than 19 where no pair stands apart.

    Args:
        similarity: (M, M), zero diagonal.
        labels: (M,).
        count: surrogates that are asked for.
        seed: of the rotations.
        progress: told of surrogates.
        keep: keeps each.
        clearest: clarity of the clearest pair of the run.
        apart: clarity of the pairs that stand apart, which may be findings.
        rate: false discovery rate that findings pass.

    Reference:
        Besag & Clifford 1991, Sequential Monte Carlo p-values.
    """
    order = np.argsort(labels, kind="stable")
    similarity, labels = similarity[order][:, order], labels[order]
    of = [hashlib.sha256(np.ascontiguousarray(each).data).digest() for each in (similarity, labels)]

    def one(number: int) -> float:
        drawn = [seed, number]
        key = [*of, str(drawn).encode()]
        return float(keep("surrogate", key, partial(_clearest, similarity, labels, drawn)))

    count = count if len(apart) else min(count, IDLE)
    best: list[float] = []
    with progress.task("surrogates", count, "search") as task:
        for found in side_by_side(one, range(count)):
            best.append(found)
            task.advance()
            if sum(other >= clearest for other in best) >= ENOUGH:
                return np.array(best)
    if _undecided(best, apart, count, rate):
        with progress.task("more surrogates", MOST - count, "search") as task:
            for found in side_by_side(one, range(count, MOST)):
                best.append(found)
                task.advance()
                if not _undecided(best, apart, count, rate):
                    break
    return np.array(best)


def p_after_selection(clarity: float, by_chance: Floats, count: int) -> float:
    """Share of surrogates, the run itself counted, whose clearest pair is at least as clear.

    ``(1 + L) / (1 + n)`` with L of the first n = ``count`` at least as clear, and ``1 / (1 + m)`` where L = 0 and the
    (m+1)-th, or none of those made, is the first that is. That holds wherever one stops: among runs without pairs, that
    the first m surrogates are all less clear has probability 1 / (1 + m).
    """
    as_clear = np.flatnonzero(by_chance >= clarity)
    first = by_chance[:count]
    if (first >= clarity).any():
        return float((1 + (first >= clarity).sum()) / (1 + len(first)))
    return 1 / (1 + int(as_clear[0] if len(as_clear) else len(by_chance)))


def _undecided(best: list[float], apart: Sequence[float], count: int, rate: float) -> bool:
    """Whether some pair is clearer than all surrogates so far and would be a finding if there were many more."""
    chance = np.array(best)
    p_values = np.array([p_after_selection(each, chance, count) for each in apart])
    leading = np.array([each > chance.max(initial=0) for each in apart], dtype=bool)
    if not leading.any() or discoveries(p_values, rate)[leading].all():
        return False
    with_more = np.where(leading, 1 / (1 + MOST), p_values)
    return bool(discoveries(with_more, rate)[leading].any())


def _clearest(similarity: Floats, labels: Ints, drawn: list[int]) -> Floats:
    """Clarity of the clearest pair in one surrogate, ()."""
    surrogate = rotated(similarity, labels, np.random.default_rng(drawn))
    found = propose(Starts(surrogate, STARTS), STARTS)
    return np.array(max((p.score for p in found if p.holds), default=0.0))


def _rotation(size: int, rng: np.random.Generator) -> Floats:
    """A random orthogonal matrix that fixes the vector of ones, (size, size) float32."""
    from scipy.linalg import qr

    turn: Floats = np.eye(size, dtype=np.float32)
    if size < 3:
        return turn
    basis, triangle = qr(
        rng.standard_normal((size - 1, size - 1), dtype=np.float32), mode="economic", check_finite=False
    )
    turn[1:, 1:] = basis * np.sign(np.diagonal(triangle))  # uniform over rotations
    # The reflection that takes the first axis to the vector of ones, on both sides.
    mirror = np.full(size, -1 / np.sqrt(size), dtype=np.float32)
    mirror[0] += 1
    mirror *= np.float32(np.sqrt(2) / np.linalg.norm(mirror))
    turn -= np.outer(mirror, mirror @ turn)
    turn -= np.outer(turn @ mirror, mirror)
    return turn

"""What the search itself finds where there are no groups: the same similarities, rotated or mixed in each class."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.discovery import discoveries
from opsigcli.mining.fixed_point import standing
from opsigcli.mining.inputs import compute_now
from opsigcli.mining.mixtures import mixed
from opsigcli.mining.other_pairs import told_from
from opsigcli.mining.outliers import separation
from opsigcli.mining.proposals import along_the_axis, clarity, propose
from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.similarity import STRIP
from opsigcli.mining.starts import Starts
from opsigcli.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.inputs import Keep
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]
    # Of a generator, one surrogate: similarities, and the labels of their rows
    Surrogates = Callable[[np.random.Generator], tuple[Floats, Ints]]

STARTS = 100  # of the search in a surrogate
ENOUGH = 10  # surrogates as clear as the clearest pair of the run, after which no more are made
MOST = 499  # surrogates, where a finding hangs on more than were asked for
SMALL = 200  # examples of a class, below which their number makes no transform slow
IDLE = 19  # surrogates where no pair stands apart: there is no finding to be made


def in_waves(similarity: Floats, labels: Ints) -> Floats:
    """S in the waves of each class, ``C S Cᵀ``: C block-diagonal, the orthonormal cosine transform of each class.

    The first wave of a class is its mean. Where the size of a class is no product of small primes, the last few of its
    examples, one in twenty at most, are no part of any wave.

    Args:
        similarity: (M, M), its diagonal taken as 1.
        labels: (M,), increasing.
    """
    whole: Floats = np.array(similarity, dtype=np.float32, order="C")
    np.fill_diagonal(whole, 1)
    return _transformed(whole, labels, 2, np.arange(len(labels)), np.ones(len(labels), dtype=np.float32))


def rotated(waves: Floats, labels: Ints, rng: np.random.Generator) -> Floats:
    """S after a random rotation within each class that leaves the class mean where it is.

    ``R S Rᵀ`` with ``R = Cᵀ Q C``, where Q gives the waves of each class but the first a random order and random signs.
    These R are a group of orthogonal matrices that fix the vector of ones: means and covariances of the classes stay,
    clusters and tails go, and what is distributed alike in all rotations is exchangeable with its own. Cosine
    transforms take the place of products with dense matrices. Entries are scaled back to cosines.

    Args:
        waves: of S, (M, M).
        labels: (M,), increasing.
        rng: draws the rotations.

    Returns:
        (M, M), zero diagonal.
    """
    order, signs = np.arange(len(labels)), np.ones(len(labels), dtype=np.float32)
    for start, end, _ in _waves(labels):
        order[start + 1 : end] = start + 1 + rng.permutation(end - start - 1)
        signs[start + 1 : end] = rng.choice([-1, 1], end - start - 1)
    whole = _transformed(waves, labels, 3, order, signs)
    scale = 1 / np.sqrt(np.maximum(np.diagonal(whole), 0.05))
    for start in range(0, len(whole), STRIP):
        whole[start : start + STRIP] *= scale[start : start + STRIP, None] * scale
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
    *,
    chosen: bool = False,
) -> Floats:
    """How clear the clearest pair is that the search finds in each of ``count`` surrogates, or of fewer, or more.

    Surrogates are rotations; where candidates were chosen out of more examples, mixtures (``mixtures.mixed``). Those
    chosen are the far ends of what all examples are, and rotations make tails Gaussian: of 6,000 examples with heavy
    tails 2,000 had 67 pairs and their rotations none. So they do where the choice is repeated, in Gaussian draws of all
    6,000.

    Once 10 surrogates are at least as clear as ``clearest``, the clearest pair of the run, no more are made: its
    p-value is then known well enough to be no finding. Up to 499 are made where a pair is clearer than all of them and
    only their number keeps it from being a finding; no more than 19 where no pair stands apart.

    Args:
        similarity: (M, M), zero diagonal.
        labels: (M,).
        count: surrogates that are asked for.
        seed: of the surrogates.
        progress: told of surrogates.
        keep: keeps each.
        clearest: of the clearest pair of the run, how clear it is.
        apart: likewise of the pairs that stand apart, which may be findings.
        rate: false discovery rate that findings pass.
        chosen: whether candidates were chosen out of more examples.

    Reference:
        Besag & Clifford 1991, Sequential Monte Carlo p-values.
    """
    of = [hashlib.sha256(np.ascontiguousarray(each).data).digest() for each in (similarity, labels)]
    make = _mixtures(similarity, labels) if chosen else _rotations(similarity, labels, seed)

    def one(number: int) -> float:
        drawn = [seed, number]
        key = [*of, str(drawn).encode()]
        return float(
            keep(
                "mixture, pairs told" if chosen else "surrogate", key, partial(_clearest, make, drawn, chosen)
            )
        )

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


def clear(
    similarity: Floats,
    sides: Sides,
    labels: Ints,
    left_out: NDArray[np.bool_] | None = None,
    *,
    chosen: bool,
) -> float:
    """How clear a pair is, which surrogates are asked for as well: ``clarity``.

    Where candidates were ``chosen``, how far the sides stand apart with hardly anybody between (``outliers.reached`` as
    of rare pairs, however many they are), but for members of pairs told from it, ``left_out`` in surrogates as in the
    run: mixtures are as opposed as the run is, with somebody everywhere.
    """
    if not chosen:
        return clarity(similarity, sides)
    return separation(similarity, sides, labels=labels, examples=np.inf, left_out=left_out)


def _rotations(similarity: Floats, labels: Ints, seed: int) -> Surrogates:
    # In random order within a class: members that follow one another would be few waves, and stay together.
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    labels = labels[order]
    waves = in_waves(similarity[order].take(order, axis=1), labels)
    return lambda rng: (rotated(waves, labels, rng), labels)


def _mixtures(similarity: Floats, labels: Ints) -> Surrogates:
    return lambda rng: (mixed(similarity, labels, rng), labels)


def _clearest(make: Surrogates, drawn: list[int], chosen: bool) -> Floats:
    """How clear the clearest pair is in one surrogate, ()."""
    surrogate, labels = make(np.random.default_rng(drawn))
    kept, cores = standing(surrogate, propose(Starts(surrogate, STARTS), STARTS))
    if not chosen:
        return np.array(max((p.score for p in (*kept, *cores)), default=0.0))
    # The run may have proposed its axis too.
    every = [p.sides for p in (*kept, *cores, *along_the_axis(surrogate))]
    apart = told_from(surrogate, every, labels)
    each = (
        clear(surrogate, sides, labels, out, chosen=True) for sides, out in zip(every, apart, strict=True)
    )
    return np.array(max(each, default=0.0))


def _waves(labels: Ints) -> list[tuple[int, int, int]]:
    """Where the rows of each class begin, where its waves end, and where its rows do."""
    from scipy.fft import next_fast_len

    found, start = [], 0
    for size in np.unique(labels, return_counts=True)[1].tolist():
        fast = next(n for n in range(size, 0, -1) if size < SMALL or next_fast_len(n) == n)
        found.append((start, start + fast, start + size))
        start += size
    return found


def _transformed(matrix: Floats, labels: Ints, kind: int, order: Ints, signs: Floats) -> Floats:
    """A symmetric matrix, put in another order and signs, after the cosine transform of each class's rows and columns.

    Class by class, so that little memory is passed through; what is above the diagonal is enough.

    Args:
        matrix: (M, M).
        labels: (M,), increasing.
        kind: 2 for the transform, 3 for its inverse.
        order: (M,) of rows and columns, within each class.
        signs: (M,), in that order.
    """
    from scipy.fft import dct

    whole = np.empty(matrix.shape, dtype=matrix.dtype)
    for start, waves, end in _waves(labels):
        rows = matrix[order[start:end]].take(order[start:], axis=1)
        rows *= signs[start:]
        rows *= signs[start:end, None]
        rows[: waves - start] = dct(rows[: waves - start], kind, axis=0, norm="ortho", overwrite_x=True)
        whole[start:end, start:] = rows
    for start, waves, end in _waves(labels):
        whole[:end, start:waves] = dct(whole[:end, start:waves], kind, axis=1, norm="ortho")
    for start in range(0, len(whole), STRIP):
        end = start + STRIP
        whole[end:, start:end] = whole[start:end, end:].T
        upper = np.triu(whole[start:end, start:end])
        whole[start:end, start:end] = upper + np.triu(upper, 1).T
    return whole

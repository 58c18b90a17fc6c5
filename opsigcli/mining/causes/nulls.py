"""What random sets of examples hold of the rises of spikes: the null of every share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

    Rng = np.random.Generator

WORK = 200_000_000  # numbers moved for a null, about; a second or two
FEWEST, MOST = 99, 999  # draws


def draws_for(numbers: int) -> int:
    """How many draws of so many numbers a null can have."""
    return int(np.clip(WORK // max(numbers, 1), FEWEST, MOST))


def partition_null(values: Floats, sizes: Ints, rng: Rng) -> tuple[Floats, Floats, Floats]:
    """Shares of random partitions, and how probable a share as large as the one found is in any part.

    Examples are permuted, the sizes of the parts kept. A part's excess is counted in standard deviations of a
    random set of its size, ``z = (Σ − n v̄) / √(n (N−n)/(N−1)) σ``, and ``p = P(max over parts of z ≥ z found)``,
    which corrects for the number of parts.

    Args:
        values: (S, N) what each example holds in each spike, examples in the order of the parts.
        sizes: (K,) of the parts, in order, adding up to N; none is empty.
        rng: permutes.

    Returns:
        The 2.5 % and 97.5 % quantiles of the share, (S, K) each; and p (S, K).

    Reference:
        Westfall & Young 1993, Resampling-Based Multiple Testing, section 2.3.4: single-step maxT.
    """
    spikes, n = values.shape
    starts = np.cumsum(sizes) - sizes
    whole = np.maximum(values.sum(axis=1), np.finfo(float).tiny)[:, None]
    mean = values.mean(axis=1)[:, None] * sizes
    deviation = np.sqrt(values.var(axis=1)[:, None] * sizes * (n - sizes) / max(n - 1, 1))
    draws = draws_for(values.size)
    shares = np.empty((draws, spikes, len(sizes)), dtype=np.float32)
    largest = np.empty((draws, spikes))
    for draw in range(draws):
        sums = np.add.reduceat(values[:, rng.permutation(n)], starts, axis=1)
        shares[draw] = sums / whole
        largest[draw] = _excess(sums, mean, deviation).max(axis=1)
    found = _excess(np.add.reduceat(values, starts, axis=1), mean, deviation)
    low, high = np.quantile(shares, (0.025, 0.975), axis=0)
    p = (1 + (largest[:, :, None] >= found - 1e-9).sum(axis=0)) / (1 + draws)
    return low.astype(np.float64), high.astype(np.float64), p


def _excess(sums: Floats, mean: Floats, deviation: Floats) -> Floats:
    found: Floats = np.divide(sums - mean, deviation, out=np.zeros_like(sums), where=deviation > 0)
    return found


def subset_null(values: Floats, sizes: Ints, rng: Rng) -> Floats:
    """Shares of random sets, one set of a given size in each spike.

    Args:
        values: (S, N).
        sizes: (S,) of the set in each spike.
        rng: permutes.

    Returns:
        (draws, S).
    """
    spikes, n = values.shape
    whole = np.maximum(values.sum(axis=1), np.finfo(float).tiny)
    padded = np.zeros((spikes, n + 1))
    shares = np.empty((draws_for(values.size), spikes))
    for draw in range(len(shares)):
        np.cumsum(values[:, rng.permutation(n)], axis=1, out=padded[:, 1:])
        shares[draw] = padded[np.arange(spikes), sizes] / whole
    return shares


def false_discovery(p: Floats) -> Floats:
    """p-values corrected for how many there are, such that of those below α a part of at most α is false.

    ``q_(i) = min over j ≥ i of p_(j) m / j``

    Reference:
        Benjamini & Hochberg 1995, J. R. Statist. Soc. B 57, 289.
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.minimum.accumulate(scaled[::-1])[::-1])
    return corrected

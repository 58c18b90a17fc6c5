"""Classes parted by what can be seen in their examples: chosen on one half, measured on the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.causes.nulls import false_discovery, partition_null
from opsigcli.mining.causes.rises import Parted
from opsigcli.mining.tokens import PREDICTED, SEEN
from opsigcli.mining.visible import COLOURS, DOMINANT
from opsigcli.spike_records import FeatureSplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.causes.rises import Rises
    from opsigcli.records import Floats, Ints

STRATA = 3  # classes looked into in each spike: those that hold most
FEWEST = 20  # examples of a class in either half
CLEAR = 2.0  # |Spearman| √(n−1) on the half that chooses, below which there is nothing to measure
LEVELS, LEVEL = 20, 10  # most frequent levels of a category, and examples of each in either half
AGAIN = 0.05  # p at which another spike splits likewise
PARTS = ("lowest third", "middle third", "highest third")


@dataclass(frozen=True)
class Column:
    """One feature of the examples of a class; a level of a category is 1 where an example has it."""

    feature: str
    values: Floats  # (n,)
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """A class and the feature that parts it best in a spike, on the half that chooses."""

    spike: int
    stratum: int | None  # class; None = all examples
    column: Column
    rows: Ints  # (n,) the half that measures
    sign: float


def feature_splits(
    rises: Rises, seen: Mapping[str, NDArray[Any]], vocabulary: Sequence[str], seed: int
) -> list[tuple[FeatureSplit, ...]]:
    """For each spike the classes that hold most of it, parted by their best feature; clearest first.

    On half of a class's examples the feature with the largest Spearman correlation (in size) with the loss delta is
    chosen. On the other half its correlation with the chosen sign, and what each third of the class holds of the
    class's positive loss deltas, are measured; p by permutation within the class, corrected for all that was measured.

    Args:
        rises: the spikes.
        seen: feature to (N of the trace,), numbers (NaN = not looked at) or integer categories (-1 likewise).
        vocabulary: names of tokens.
        seed: of the permutations.
    """
    columns: dict[int | None, tuple[Ints, list[Column]]] = {}
    chosen: list[Chosen] = []
    for s in range(len(rises.deltas)):
        for stratum in _strata(rises, seen, s):
            if stratum not in columns:
                columns[stratum] = _columns(rises, seen, vocabulary, stratum)
            best = _choose(rises, s, stratum, *columns[stratum])
            chosen += [best] if best is not None else []
    measured: list[tuple[int, FeatureSplit]] = []
    rng = np.random.default_rng([seed, 4])
    for key in dict.fromkeys((c.stratum, c.column.feature) for c in chosen):
        measured += _measure(rises, [c for c in chosen if (c.stratum, c.column.feature) == key], rng)
    found: list[list[FeatureSplit]] = [[] for _ in rises.deltas]
    if measured:
        corrected = false_discovery(np.array([split.p_value for _, split in measured]))
        for (s, split), p in zip(measured, corrected.tolist(), strict=True):
            found[s].append(replace(split, p_value=p))
    return [tuple(sorted(splits, key=lambda split: (split.p_value, split.of))) for splits in found]


def _looked_at(rises: Rises, seen: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    at = np.ones(len(rises.positions), dtype=bool)
    for values in seen.values():
        own = values[rises.positions]
        at &= np.isfinite(own) if own.dtype.kind == "f" else own >= 0
    return at & (rises.half >= 0)


def _strata(rises: Rises, seen: Mapping[str, NDArray[Any]], spike: int) -> list[int | None]:
    """The classes that hold most on the half that chooses; all examples together where every class is too small."""
    if not seen:
        return []
    at = _looked_at(rises, seen)
    large = _large(rises, at) if len(rises.names) > 1 else []
    if not large:
        both = [int((at & (rises.half == side)).sum()) for side in (0, 1)]
        return [None] if min(both) >= FEWEST else []
    chooses = rises.half == 0
    held = np.bincount(rises.classes[chooses], rises.held[spike, chooses], minlength=len(rises.names))
    return list(sorted(large, key=lambda k: -held[k])[:STRATA])


def _large(rises: Rises, at: NDArray[np.bool_]) -> list[int]:
    """The classes with enough examples in either half that were looked at."""
    sizes = np.array(
        [np.bincount(rises.classes[at & (rises.half == side)], minlength=len(rises.names)) for side in (0, 1)]
    ).min(axis=0)
    return [k for k in np.flatnonzero(sizes >= FEWEST).tolist() if k != rises.nameless]


def _columns(
    rises: Rises, seen: Mapping[str, NDArray[Any]], vocabulary: Sequence[str], stratum: int | None
) -> tuple[Ints, list[Column]]:
    """The rows of a class that were looked at, and what was seen in them."""
    at = _looked_at(rises, seen)
    rows = np.flatnonzero(at if stratum is None else at & (rises.classes == stratum))
    sides = rises.half[rows]
    found = []
    for name, values in seen.items():
        own = values[rises.positions[rows]]
        if own.dtype.kind == "f":
            if len(np.unique(own)) > len(PARTS):
                found.append(Column(name, own.astype(np.float64), PARTS))
            continue
        levels, counts = np.unique(own, return_counts=True)
        for level in levels[np.argsort(-counts, kind="stable")[:LEVELS]].tolist():
            there = own == level
            if all(LEVEL <= there[sides == side].sum() <= (sides == side).sum() - LEVEL for side in (0, 1)):
                word = _spelled(name, level, vocabulary)
                found.append(Column(f"{name} {word}", there.astype(np.float64), ("others", word)))
    return rows, found


def _spelled(feature: str, level: int, vocabulary: Sequence[str]) -> str:
    if feature == DOMINANT:
        return COLOURS[level]
    if feature in (SEEN, PREDICTED) and level < len(vocabulary):
        return f"'{vocabulary[level]}'"
    return str(level)


def _choose(
    rises: Rises, spike: int, stratum: int | None, rows: Ints, columns: Sequence[Column]
) -> Chosen | None:
    chooses = rises.half[rows] == 0
    if not columns:
        return None
    ranks = _standard_ranks(np.array([column.values[chooses] for column in columns]))
    moved = _standard_ranks(rises.deltas[spike, rows[chooses]][None])[0]
    correlations = ranks @ moved
    best = int(np.abs(correlations).argmax())
    if abs(correlations[best]) * np.sqrt(chooses.sum() - 1) < CLEAR:
        return None
    column = replace(columns[best], values=columns[best].values[~chooses])
    return Chosen(spike, stratum, column, rows[~chooses], float(np.sign(correlations[best])))


def _measure(
    rises: Rises, chosen: Sequence[Chosen], rng: np.random.Generator
) -> list[tuple[int, FeatureSplit]]:
    """One feature of one class, in all spikes in which it was chosen."""
    rows, column = chosen[0].rows, chosen[0].column
    n = len(rows)
    ranks = _standard_ranks(column.values[None])[0]
    moved = _standard_ranks(rises.deltas[:, rows])
    found = moved @ ranks
    draws = int(np.clip(20_000_000 // n, 199, 999))
    null = np.array([moved @ rng.permutation(ranks) for _ in range(draws)])
    likewise = (1 + (np.abs(null) >= np.abs(found) - 1e-12).sum(axis=0)) / (1 + draws) <= AGAIN
    order = np.argsort(column.values, kind="stable")
    if column.parts is PARTS:
        pieces = np.array_split(order, len(PARTS))
    else:
        pieces = [np.flatnonzero(column.values == value) for value in (0, 1)]
    sizes = np.array([len(piece) for piece in pieces])
    which = [c.spike for c in chosen]
    low, high, _ = partition_null(rises.held[which][:, rows[np.concatenate(pieces)]], sizes, rng)
    measured = []
    for place, c in enumerate(chosen):
        parted = Parted(rises.deltas[c.spike, rows], rises.weights[rows])
        parts = tuple(
            parted.share(
                name,
                piece,
                (len(piece) / n, float(low[place, k]), float(high[place, k])),
            )
            for k, (name, piece) in enumerate(zip(column.parts, pieces, strict=True))
        )
        p = float((1 + (c.sign * null[:, c.spike] >= c.sign * found[c.spike] - 1e-12).sum()) / (1 + draws))
        again = int(likewise.sum() - likewise[c.spike])
        of = "" if c.stratum is None else rises.names[c.stratum]
        split = FeatureSplit(of, column.feature, parts, float(found[c.spike]), p, again, len(moved) - 1)
        measured.append((c.spike, split))
    return measured


def _average_ranks(values: Floats) -> Floats:
    """Ranks from 1, tied values sharing their mean: SciPy's, whose import takes longer than a report."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places], dtype=np.float64)


def _standard_ranks(rows: Floats) -> Floats:
    """Ranks in each row, about their mean and of length 1, so that products are Spearman correlations."""
    ranks = np.stack([_average_ranks(row) for row in rows])
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    found: Floats = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return found

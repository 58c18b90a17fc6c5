"""What speaks for a pair: each number with the same number for class-matched random groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.series import first_step
from opsigcli.mining.verdict import APART
from opsigcli.records import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.residual import Gradients
    from opsigcli.mining.series import Oscillation
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

DRAWS = 199  # random groups of the null
HELD_OUT = 8  # loss deltas below which a correlation over steps means nothing

_NULL = "null: random candidates of the same labels and sizes, outside all pairs while there are enough"
DEFINITIONS: dict[str, str] = {
    "opposition": "minus the mean residual-adjusted gradient cosine between the two groups, averaged over the "
    f"checkpoints compared ({_NULL}, mean; p: share of them at least as opposed).",
    "gradient_cosine": "cosine of the two groups' mean gradients, averaged over the checkpoints compared "
    f"({_NULL}, mean; p: share of them at most as large).",
    "gradient_ratio": "norm of a group's mean gradient over that of class-matched random groups, root mean "
    f"square over both groups and the checkpoints compared ({_NULL}, 1 by definition; p: share at least as large).",
    "share_of_loss_change": "the pair's share of the energy of high-passed loss deltas of all examples, after "
    f"the first 10 % of the steps ({_NULL}, mean; p: share of them at least as large).",
    "share_ratio": "share_of_loss_change over the pair's fraction of the data "
    f"({_NULL}, mean; p: share of them at least as large).",
    "anti_phase": "correlation of the two groups' mean high-passed loss deltas over steps that no compared "
    f"checkpoint touches, after the first 10 % ({_NULL}, mean; p: share of them at most as large).",
    "separation": "10 % quantile of the members' contrast (mean residual-adjusted cosine to the own group minus "
    f"that to the other) over the 98 % quantile of its size in all other candidates; above {APART} the groups stand "
    f"apart, below they are tails of one continuous axis ({_NULL}, mean; p: share of them at least as large).",
}


@dataclass(frozen=True)
class Material:
    """What the evidence is computed from; rows of M candidates."""

    similarity: Floats  # (M, M) residual-adjusted gradient cosine, zero diagonal
    gradients: Sequence[Gradients]
    labels: Ints  # (M,)
    energy: Floats  # (M,) share of the energy of all examples' high-passed loss deltas
    fast: Floats  # (T−1, M) high-passed loss deltas
    examples: int  # N

    @classmethod
    def of(
        cls,
        similarity: Floats,
        gradients: Sequence[Gradients],
        labels: Ints,
        found: Oscillation,
        candidates: Ints,
    ) -> Material:
        """Put together what the parts of mining found."""
        whole = float(found.energy.sum())
        share = found.energy[candidates] / whole if whole > 0 else np.zeros(len(candidates))
        return cls(similarity, gradients, labels, share, found.chosen, len(found.energy))

    def held_out(self) -> Ints:
        """Loss deltas that no compared checkpoint begins or ends, after the first 10 %, all measured."""
        steps = len(self.fast)
        touched = {t for at in self.gradients for t in (at.checkpoint - 1, at.checkpoint)}
        free = np.array([t for t in range(first_step(steps), steps) if t not in touched], dtype=np.int64)
        return free[np.isfinite(self.fast[free]).all(axis=1)]


def class_matched(
    labels: Ints, sides: Sides, taken: Ints, rng: np.random.Generator, draws: int = DRAWS
) -> Sides:
    """The pair, and random disjoint pairs with the same number of members of every label on each side.

    Members of mined groups are drawn only where a label has too few others: a few of them would make a
    random group look like the pair.

    Args:
        labels: (M,) of the candidates.
        sides: rows of the pair's two groups.
        taken: rows of the members of all pairs.
        rng: draws the random groups.
        draws: how many.

    Returns:
        Rows of the first (1 + draws, |A|) and second groups (1 + draws, |B|); row 0 is the pair itself.
    """
    first, second = [np.sort(sides[0])], [np.sort(sides[1])]
    inside = np.isin(np.arange(len(labels)), taken)
    of_label = []
    for c in np.unique(labels[np.concatenate(sides)]):
        a, b = (int((labels[rows] == c).sum()) for rows in sides)
        of_label.append(
            (np.flatnonzero((labels == c) & ~inside), np.flatnonzero((labels == c) & inside), a, b)
        )
    for _ in range(draws):
        drawn = []
        for outside, members, a, b in of_label:
            rows = np.concatenate([rng.permutation(outside), rng.permutation(members)])[: a + b]
            drawn.append((rng.permutation(rows), a))
        first.append(np.concatenate([rows[:a] for rows, a in drawn]))
        second.append(np.concatenate([rows[a:] for rows, a in drawn]))
    return np.stack(first), np.stack(second)


def gather_evidence(
    material: Material, sides: Sides, taken: Ints, rng: np.random.Generator
) -> dict[str, Evidence]:
    """Every kind of evidence in ``DEFINITIONS`` that the material allows, for one pair.

    The p-values hold for a pair named in advance. Mining looks for extremes, so that they do not account for
    the search.

    Args:
        material: what is known of the candidates.
        sides: candidate rows of the pair's two groups.
        taken: candidate rows of the members of all pairs.
        rng: of the null.

    Returns:
        Evidence by name.
    """
    groups = class_matched(material.labels, sides, taken, rng)
    first, second = (_averages(rows, len(material.labels)) for rows in groups)
    to_first, to_second = first @ material.similarity, second @ material.similarity
    found = {"opposition": _against_null(-(to_first * second).sum(axis=1), tail="high")}
    cosine, size = _group_gradients(material.gradients, first, second)
    found["gradient_cosine"] = _against_null(cosine, tail="low")
    typical = float(size[1:].mean())
    if typical > 0:
        found["gradient_ratio"] = _against_null(size / typical, tail="high")
    if material.energy.any():
        members = len(sides[0]) + len(sides[1])
        share = first @ material.energy * len(sides[0]) + second @ material.energy * len(sides[1])
        found["share_of_loss_change"] = _against_null(share, tail="high")
        found["share_ratio"] = _against_null(share / (members / material.examples), tail="high")
    steps = material.held_out()
    if len(steps) >= HELD_OUT:
        fast = material.fast[steps].T
        correlation = _correlations(first @ fast, second @ fast)
        if np.isfinite(correlation).all():
            found["anti_phase"] = _against_null(correlation, tail="low")
    found["separation"] = _against_null(_separations(to_first, to_second, groups), tail="high")
    return found


def _averages(rows: Ints, m: int) -> Floats:
    """Each row of indices as a row of weights that averages over them, (R, M)."""
    weights = np.zeros((len(rows), m), dtype=np.float32)
    np.put_along_axis(weights, rows, np.float32(1 / rows.shape[1]), axis=1)
    return weights


def _against_null(statistic: Floats, *, tail: str) -> Evidence:
    """Row 0 against the other rows: their mean, and the share at least as extreme, the pair itself counted."""
    value, null = statistic[0], statistic[1:]
    extreme = null >= value if tail == "high" else null <= value
    return Evidence(float(value), float(null.mean()), float((1 + extreme.sum()) / (1 + len(null))))


def _group_gradients(gradients: Sequence[Gradients], first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Mean cosine of the groups' mean gradients, and root mean square of their norms, over checkpoints, (R,) each."""
    cosine, squares = np.zeros(len(first)), np.zeros(len(first))
    for at in gradients:
        a, b = first @ at.sketch, second @ at.sketch
        norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        norms, inner = norm_a * norm_b, (a * b).sum(axis=1)
        cosine += np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0)
        squares += (norm_a**2 + norm_b**2) / 2
    return cosine / len(gradients), np.sqrt(squares / len(gradients))


def _correlations(first: Floats, second: Floats) -> Floats:
    """Correlation of each row of ``first`` with the same row of ``second``, (R,); NaN for a constant row."""
    a = first - first.mean(axis=1, keepdims=True)
    b = second - second.mean(axis=1, keepdims=True)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    inner = (a * b).sum(axis=1)
    correlation: Floats = np.divide(inner, size, out=np.full_like(inner, np.nan), where=size > 0)
    return correlation


def _separations(to_first: Floats, to_second: Floats, groups: Sides) -> Floats:
    """How far the members' contrast lies outside the bulk of everybody else's, (R,)."""
    ratios = np.empty(len(to_first))
    for row, (a, b) in enumerate(zip(*groups, strict=True)):
        # A member's mean includes its own zero diagonal entry; the factors take it out.
        own_a = to_first[row, a] * (len(a) / max(len(a) - 1, 1)) - to_second[row, a]
        own_b = to_second[row, b] * (len(b) / max(len(b) - 1, 1)) - to_first[row, b]
        rest = np.delete(to_first[row] - to_second[row], np.concatenate([a, b]))
        bulk = np.quantile(np.abs(rest), 0.98) if len(rest) else 0.0
        inside = np.quantile(np.concatenate([own_a, own_b]), 0.1)
        ratios[row] = inside / max(bulk, 1e-3)
    return ratios

"""What speaks for a pair: each number with the same number for class-matched random groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.features import DEFINITIONS as FEATURE_DEFINITIONS
from opsigcli.mining.features import shared_features
from opsigcli.mining.fixed_point import swing_held
from opsigcli.mining.proposals import clarity
from opsigcli.mining.trace_stats import first_step
from opsigcli.mining.verdict import APART
from opsigcli.records import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsigcli.mining.oscillation import Oscillation
    from opsigcli.mining.search import Probe
    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

DRAWS = 199  # random groups of the null
HELD_OUT = 8  # loss deltas below which a correlation over steps means nothing

_NULL = "null: random candidates of the same labels and sizes, outside all pairs while there are enough"
DEFINITIONS: dict[str, str] = {
    "opposition": "minus the mean residual-adjusted gradient cosine between the two groups (what a cosine has beyond "
    "the usual one of examples whose output residuals are as alike, as a share of the room left up to 1 or down to "
    f"-1), averaged over the checkpoints compared ({_NULL}, mean; p: share of them at least as opposed).",
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
    "clarity": "opposition times separation (at most 1.5) of the pair (null: the same for the clearest pair found by "
    "the same search in this run's gradient similarities after a random rotation within each class, which keeps "
    "class means and covariances and destroys clusters; mean; p: share of rotations at least as clear, which "
    "accounts for the search: among runs without pairs a share of at most p has any pair this clear).",
    "persistence": "share of the compared checkpoints at which the cosine of the groups' mean gradients is below "
    f"the 5 % quantile of the null ({_NULL}; the same share, mean).",
    "swing_held": "log of the members' share of the loss changes along the pair's own direction, theta +- epsilon u "
    "with u along the difference of the groups' mean gradients, over their fraction of the examples; the largest "
    "over the checkpoints compared (needs no neighbouring checkpoint; null: 0, members change as others do).",
    "curvature": "curvature of the mean loss along the pair's direction over the largest eigenvalue of the Hessian, "
    f"at the checkpoint with both ({_NULL.replace('random', 'three random')}).",
    **FEATURE_DEFINITIONS,
}


@dataclass(frozen=True)
class Material:
    """What the evidence is computed from; rows of M candidates."""

    similarity: Floats | None  # (M, M) gradient similarity, zero diagonal; None for losses alone
    gradients: Sequence[Gradients]
    labels: Ints  # (M,)
    energy: Floats  # (M,) share of the energy of all examples' high-passed loss deltas
    fast: Floats  # (T−1, M) high-passed loss deltas
    examples: int  # N
    features: Mapping[str, Floats] = field(
        default_factory=dict
    )  # name -> (M,) what can be seen in an example
    weights: Floats | None = None  # (M,) how many of all examples each row stands for
    by_chance: Floats = field(
        default_factory=lambda: np.zeros(0)
    )  # clarity of the clearest pair per surrogate

    @classmethod
    def of(
        cls,
        similarity: Floats | None,
        gradients: Sequence[Gradients],
        labels: Ints,
        found: Oscillation,
        candidates: Ints,
        features: Mapping[str, Floats] | None = None,
        by_chance: Floats | None = None,
        weights: Floats | None = None,
    ) -> Material:
        """Put together what the parts of mining found."""
        whole = float(found.energy.sum())
        share = found.energy[candidates] / whole if whole > 0 else np.zeros(len(candidates))
        chance: Floats = np.zeros(0) if by_chance is None else by_chance
        examples = len(found.energy)
        return cls(
            similarity, gradients, labels, share, found.chosen, examples, features or {}, weights, chance
        )

    def held_out(self) -> Ints:
        """Loss deltas that no compared checkpoint begins or ends, after the first 10 %, all measured."""
        steps = len(self.fast)
        seen = set(touched(self.gradients, steps))
        free = np.array([t for t in range(first_step(steps), steps) if t not in seen], dtype=np.int64)
        return free[np.isfinite(self.fast[free]).all(axis=1)]


def touched(gradients: Sequence[Gradients], steps: int) -> tuple[int, ...]:
    """Loss deltas, of ``steps``, that a compared checkpoint begins or ends."""
    both = {t for at in gradients for t in (at.checkpoint - 1, at.checkpoint)}
    return tuple(sorted(t for t in both if 0 <= t < steps))


def _with_random_pairs(material: Material, sides: Sides, taken: Ints, rng: np.random.Generator) -> Sides:
    """The pair and class-matched random pairs, rows (1 + 199, |A|) and (1 + 199, |B|)."""
    first, second = class_matched(material.labels, sides, taken, rng, DRAWS)
    return np.vstack([np.sort(sides[0]), first]), np.vstack([np.sort(sides[1]), second])


def gather_evidence(
    material: Material, sides: Sides, taken: Ints, rng: np.random.Generator, probe: Probe | None = None
) -> dict[str, Evidence]:
    """Every kind of evidence in ``DEFINITIONS`` that the material allows, for one pair.

    Class-matched p-values hold for a pair named in advance: mining looks for extremes, so that they do not account
    for the search. The p-value of clarity does.

    Args:
        material: what is known of the candidates.
        sides: candidate rows of the pair's two groups.
        taken: candidate rows of the members of all pairs.
        rng: of the null.
        probe: of swings along the pair's direction.

    Returns:
        Evidence by name.
    """
    similarity = material.similarity
    assert similarity is not None, "losses alone have evidence of their own"
    groups = _with_random_pairs(material, sides, taken, rng)
    first, second = (_averages(rows, len(material.labels)) for rows in groups)
    to_first, to_second = first @ similarity, second @ similarity
    found = {"opposition": _against_null(-(to_first * second).sum(axis=1), tail="high")}
    cosines, size = _group_gradients(material.gradients, first, second)
    found["gradient_cosine"] = _against_null(cosines.mean(axis=0), tail="low")
    lasting = (cosines < np.quantile(cosines[:, 1:], 0.05, axis=1)[:, None]).mean(axis=0)
    found["persistence"] = _against_null(lasting, tail="high")
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
    if len(material.by_chance):
        clear = clarity(similarity, (np.sort(sides[0]), np.sort(sides[1])))
        found["clarity"] = _against_null(np.append(clear, material.by_chance), tail="high")
    if probe is not None:
        found["swing_held"] = Evidence(
            float(swing_held(probe(sides), sides, material.weights).max()), null=0.0
        )
    others = np.setdiff1d(np.arange(len(material.labels)), taken)
    return found | shared_features(material.features, groups, others)


def loss_evidence(
    material: Material, sides: Sides, taken: Ints, rng: np.random.Generator
) -> dict[str, Evidence]:
    """What losses alone say about a pair: its share of the loss change, and what its examples look like."""
    groups = _with_random_pairs(material, sides, taken, rng)
    first, second = (_averages(rows, len(material.labels)) for rows in groups)
    found = {}
    if material.energy.any():
        share = first @ material.energy * len(sides[0]) + second @ material.energy * len(sides[1])
        members = len(sides[0]) + len(sides[1])
        found["share_of_loss_change"] = _against_null(share, tail="high")
        found["share_ratio"] = _against_null(share / (members / material.examples), tail="high")
    others = np.setdiff1d(np.arange(len(material.labels)), taken)
    return found | shared_features(material.features, groups, others)


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
    """Cosines of the groups' mean gradients at each checkpoint (K, R), and root mean square of their norms (R,)."""
    cosines, squares = np.zeros((len(gradients), len(first))), np.zeros(len(first))
    for row, at in enumerate(gradients):
        a, b = first @ at.sketch, second @ at.sketch
        norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        norms, inner = norm_a * norm_b, (a * b).sum(axis=1)
        cosines[row] = np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0)
        squares += (norm_a**2 + norm_b**2) / 2
    return cosines, np.sqrt(squares / len(gradients))


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

"""A pair that was found, with its evidence, its verdict and the names of its members, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence import Material, Proposed, gather_evidence
from opsigcli.mining.features import prototype
from opsigcli.mining.tokens import spelled
from opsigcli.mining.verdict import judge, traits
from opsigcli.mining_records import (
    Evidence,
    Group,
    Pair,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsigcli.mining.inputs import Trace
    from opsigcli.records import Ints


@dataclass(frozen=True)
class Findings:
    """All pairs that were found, and what they are described from."""

    trace: Trace
    material: Material
    pairs: tuple[Proposed, ...]  # each with that side first whose loss rises when both move most
    explained: Mapping[str, float]  # adjusted R² of high-passed loss deltas, as in ``features.explained``
    seed: int  # of the nulls


def describe(found: Findings, pair: Proposed) -> Pair:
    """The pair as a record."""
    trace = found.trace
    evidence = gather_evidence(found.material, pair, found.pairs, found.seed)
    verdict, reasons = judge(evidence, min(map(len, pair.sides)))
    labels = traits(evidence)
    strongest, _ = found.material.strongest(pair.sides)
    first, second = (
        _group(found, rows, members) for rows, members in zip(pair.sides, pair.members, strict=True)
    )
    return Pair(
        first=first,
        second=second,
        opposition=evidence.pop("opposition", Evidence(float("nan"), definition="opposition")),
        evidence=spelled(evidence, trace.classes),
        verdict=verdict,
        reasons=reasons,
        strongest_step=int(trace.steps[strongest]),
        traits=labels,
    )


def _group(found: Findings, rows: Ints, members: Ints) -> Group:
    """One side, with the candidate whose gradient is nearest to its centroid."""
    trace, candidates = found.trace, found.material.candidates
    nearest = None
    if candidates.gradients:
        nearest = int(trace.ids[candidates.positions[prototype(candidates.gradients, rows)]])
    return Group(trace.ids[members], _label_counts(trace.labels[members], trace.classes), nearest)


def _label_counts(labels: Ints, classes: Sequence[str]) -> dict[str, int]:
    """Members per class name, most first."""
    values, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = int(values.min()) >= 0 and int(values.max()) < len(classes)
    return {classes[values[c]] if named else str(values[c]): int(counts[c]) for c in order}

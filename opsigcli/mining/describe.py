"""A pair that was found, with its evidence, its verdict and the names of its members, as a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence import Material, gather_evidence, loss_evidence
from opsigcli.mining.features import prototype
from opsigcli.mining.tokens import spelled
from opsigcli.mining.trace_stats import first_step
from opsigcli.mining.verdict import judge, traits
from opsigcli.records import Evidence, Group, Pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsigcli.mining.search import Probe
    from opsigcli.records import Ints

    Sides = tuple[Ints, Ints]


def describe(
    material: Material,
    sides: Sides,
    joined: Sides | None,
    taken: Ints,
    candidates: Ints,
    labels: Ints,
    ids: Ints,
    steps: Ints,
    classes: Sequence[str],
    rng: np.random.Generator,
    shares: Mapping[str, float],
    probe: Probe | None,
) -> tuple[Pair, Sides]:
    """The pair as a record, and the positions of its groups: first the one whose loss rises when both move most."""
    gap = material.fast[:, sides[0]].mean(axis=1) - material.fast[:, sides[1]].mean(axis=1)
    gap[: first_step(len(gap))] = np.nan
    strongest = int(np.nanargmax(np.abs(gap))) if np.isfinite(gap).any() else 0
    if gap[strongest] < 0:
        sides = sides[1], sides[0]
        joined = joined and (joined[1], joined[0])
    if material.gradients:
        evidence = gather_evidence(material, sides, taken, rng, probe)
    else:
        evidence = loss_evidence(material, sides, taken, rng)
    verdict, reasons = judge(evidence, shares)
    found = traits(evidence)
    nearest = [prototype(material.gradients, s) for s in sides] if material.gradients else None
    members = candidates[sides[0]], candidates[sides[1]]
    if joined:
        members = np.union1d(members[0], joined[0]), np.union1d(members[1], joined[1])
    first, second = (
        Group(
            ids[rows],
            _label_counts(labels[rows], classes),
            None if nearest is None else int(ids[candidates[nearest[side]]]),
        )
        for side, rows in enumerate(members)
    )
    pair = Pair(
        first=first,
        second=second,
        opposition=evidence.pop("opposition", Evidence(float("nan"))),
        evidence=spelled(evidence, classes),
        verdict=verdict,
        reasons=reasons,
        strongest_step=int(steps[strongest]),
        traits=found,
    )
    return pair, members


def _label_counts(labels: Ints, classes: Sequence[str]) -> dict[str, int]:
    """Members per class name, most first."""
    values, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = int(values.min()) >= 0 and int(values.max()) < len(classes)
    return {classes[values[c]] if named else str(values[c]): int(counts[c]) for c in order}

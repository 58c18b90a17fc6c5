"""What becomes of a pair in data that were never mined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.evidence.losses import correlations
from opsigcli.mining.evidence.material import DRAWS, HELD_OUT, Kind, Matched, against_null
from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.parts import parts
from opsigcli.mining.simple import SMALLEST
from opsigcli.mining.unseen import sides_in
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

OF_SAME = f"null: {DRAWS} draws of random unseen examples of the same labels and sizes, mean"


def _unseen(pair: Matched) -> Mapping[str, Evidence]:
    material = pair.material
    unseen, candidates, settings = material.candidates.unseen, material.candidates, material.settings
    if unseen is None or not material.findable or settings.similarity != "adjusted":
        return {}
    groups = parts(pair.similarity, pair.pair.sides, material.labels)
    own, among, weights = pair.pair.sides, material.examples, candidates.weights
    if not stands_apart(pair.similarity, own, groups, material.labels, among, weights, pair.pair.left_out):
        return {}
    sides = sides_in(
        unseen, candidates.gradients, pair.similarity, pair.pair.sides, settings.seed, candidates.among
    )
    n = len(unseen.labels)
    mined = sum(map(len, pair.pair.members)) / material.examples
    found = {"unseen_members": Evidence(sum(map(len, sides)) / n, mined)}
    steps = material.held_out()
    steps = steps[np.isfinite(unseen.high_passed[steps]).all(axis=1)]
    if min(map(len, sides)) >= SMALLEST and len(steps) >= HELD_OUT:
        found |= _swings(pair, unseen.high_passed[steps].astype(np.float64), unseen.labels, sides, steps)
    return {name: _named(name, each) for name, each in found.items()}


def _swings(pair: Matched, series: Floats, labels: Ints, sides: Sides, steps: Ints) -> dict[str, Evidence]:
    """Anti-phase, agreement and share ratio of the unseen sides on some steps, of which (S, N') is the series."""
    nobody = np.zeros(0, dtype=np.int64)
    rng = np.random.default_rng(pair.material.settings.seed)
    random = class_matched(labels, sides, nobody, rng, DRAWS)
    groups = [np.vstack([own, drawn]) for own, drawn in zip(sides, random, strict=True)]
    first, second = (series[:, rows].mean(axis=2).T for rows in groups)  # (R + 1, S)
    mined = pair.material.high_passed[steps].astype(np.float64)
    a, b = (mined[:, rows].mean(axis=1) for rows in pair.pair.sides)
    energy = np.square(series).sum(axis=0)
    held = sum(energy[rows].sum(axis=1) for rows in groups) / max(float(energy.sum()), 1e-300)
    found = {
        "unseen_anti_phase": (correlations(first, second), "low"),
        "unseen_agreement": (correlations(first - second, np.broadcast_to(a - b, first.shape)), "high"),
        "unseen_share_ratio": (held * len(labels) / sum(map(len, sides)), "high"),
    }
    return {
        name: against_null(values, tail=tail)
        for name, (values, tail) in found.items()
        if np.isfinite(values).all()
    }


def _named(name: str, each: Evidence) -> Evidence:
    return Evidence(each.value, each.null, each.p_value, definition=name)


UNSEEN = Kind(
    {
        "unseen_members": "share of the examples of --test-data that stand with either side by their gradients at the "
        "checkpoints compared, by the rule for members (null: the members' share of the examples mined).",
        "unseen_anti_phase": "anti_phase of the two sides there, on steps that no compared checkpoint touches; no loss "
        f"was looked at to find them ({OF_SAME}; p: share of them at most as large).",
        "unseen_agreement": "correlation over the same steps of the difference of the two sides' mean high-passed loss "
        f"deltas there with that of the mined sides ({OF_SAME}; p: share of them at least as large).",
        "unseen_share_ratio": "share of the energy of high-passed loss deltas there on the same steps over the share "
        f"of the examples ({OF_SAME}; p: share of them at least as large).",
    },
    _unseen,
)

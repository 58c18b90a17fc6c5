"""What the loss does along the pair's own direction; both need the model, or what it gave before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import Kind, Matched
from opsigcli.mining.evidence.opposition import clarity_by_chance
from opsigcli.mining.fixed_point import swing_held
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from opsigcli.records import Floats

CURVATURE_DRAWS = (
    3  # class-matched random pairs of the curvature's null: each costs a product with the Hessian
)

LEAST_LOOKED_AT = 0.2  # p after selection up to which a pair's direction is looked at, whatever the rate


def _swing_held(pair: Matched) -> Evidence | None:
    candidates, sides = pair.material.candidates, pair.pair.sides
    if candidates.probe is None or _by_chance(pair):
        return None
    held: Floats = swing_held(np.stack(list(candidates.probe(sides))), sides, candidates.weights)
    return Evidence(float(held.max()), null=0.0)


def _by_chance(pair: Matched) -> bool:
    """Whether the search finds so clear a pair by chance, so that it can be no finding: to look takes the model."""
    clear = clarity_by_chance(pair)
    rate = pair.material.settings.false_discovery_rate
    return clear is not None and clear.p_value is not None and clear.p_value > max(rate, LEAST_LOOKED_AT)


def _curvature(pair: Matched) -> Evidence | None:
    along = pair.material.candidates.curvature
    return None if along is None else along(pair.pair.members, pair.members)


SWING_HELD = Kind.number(
    "swing_held",
    "log of the members' share of the loss changes along the pair's own direction, theta +- epsilon u "
    "with u along the difference of the groups' mean gradients, over their fraction of the examples; the largest "
    "over three of the checkpoints compared; where more than 512 candidates are no members, so many are drawn and "
    f"stand for all. Not measured where the p of clarity is above {LEAST_LOOKED_AT} and above the false discovery rate "
    "(needs no neighbouring checkpoint; null: 0, members change as others do).",
    _swing_held,
)
CURVATURE = Kind.number(
    "curvature",
    "curvature of the mean loss along the pair's direction over the largest eigenvalue of the Hessian, "
    f"at the checkpoint with both (null: {CURVATURE_DRAWS} draws of random examples of the same labels and sizes, "
    "outside all pairs while there are enough; mean).",
    _curvature,
)

"""What speaks for a pair: numbers, each with the same number for a null.

A new number is one file here, and one line of ``EVIDENCE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.mining.evidence.appearance import MEMBERS_BY_FEATURE, SIDES_BY_FEATURE, TOKENS
from opsigcli.mining.evidence.directions import CURVATURE, SWING_HELD
from opsigcli.mining.evidence.gradients import GRADIENT_COSINE, GRADIENT_RATIO, PERSISTENCE
from opsigcli.mining.evidence.growth import GROWTH
from opsigcli.mining.evidence.losses import (
    ALTERNATION,
    AMPLITUDE,
    ANTI_PHASE,
    SHARE_OF_LOSS_CHANGE,
    SHARE_RATIO,
)
from opsigcli.mining.evidence.material import Kind, Matched, Material, Proposed
from opsigcli.mining.evidence.opposition import (
    BY_CLASS,
    CLARITY,
    COHESION,
    OPPOSITION,
    REPLICATION,
    SEPARATION,
)
from opsigcli.mining.evidence.stability import STABILITY
from opsigcli.mining.evidence.unseen import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining_records import (
        Evidence,
    )

# In the order in which evidence is shown.
EVIDENCE: tuple[Kind, ...] = (
    OPPOSITION,
    GRADIENT_COSINE,
    PERSISTENCE,
    GRADIENT_RATIO,
    SHARE_OF_LOSS_CHANGE,
    SHARE_RATIO,
    ANTI_PHASE,
    ALTERNATION,
    AMPLITUDE,
    UNSEEN,
    COHESION,
    SEPARATION,
    REPLICATION,
    STABILITY,
    BY_CLASS,
    CLARITY,
    SWING_HELD,
    TOKENS,
    MEMBERS_BY_FEATURE,
    SIDES_BY_FEATURE,
    CURVATURE,
    GROWTH,
)
__all__ = ["DEFINITIONS", "EVIDENCE", "Kind", "Matched", "Material", "Proposed", "gather_evidence"]

DEFINITIONS: dict[str, str] = {name: text for kind in EVIDENCE for name, text in kind.definitions.items()}


def gather_evidence(
    material: Material, pair: Proposed, pairs: Sequence[Proposed], seed: int
) -> dict[str, Evidence]:
    """Every kind of evidence in ``EVIDENCE`` that the material allows, for one pair.

    Class-matched p-values hold for a pair named in advance: mining looks for extremes, so that they do not account
    for the search. The p-value of clarity does. Of losses alone those numbers are left that need no gradients.

    Args:
        material: what is known of the candidates.
        pair: its two groups.
        pairs: all pairs found.
        seed: of the null.

    Returns:
        Evidence by name.
    """
    matched = Matched.of(material, pair, pairs, seed)
    found: dict[str, Evidence] = {}
    for kind in EVIDENCE:
        if material.similarity is not None or not kind.needs_gradients:
            found |= kind.measure(matched)
    return found

"""How well mined pairs match the pairs that were planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Ints

    Sides = tuple[Ints, Ints]

FOUND = 0.5  # membership F1 from which a known pair counts as found


def membership_f1(found: Ints, known: Ints) -> float:
    """``2 |A ∩ B| / (|A| + |B|)`` of two sets of ids."""
    total = len(found) + len(known)
    return 2 * len(np.intersect1d(found, known)) / total if total else 1.0


def pair_f1(found: Sides, known: Sides) -> float:
    """Mean membership F1 of the two sides, whichever way round fits better."""
    straight = membership_f1(found[0], known[0]) + membership_f1(found[1], known[1])
    crossed = membership_f1(found[0], known[1]) + membership_f1(found[1], known[0])
    return max(straight, crossed) / 2


def recovery(found: Sequence[Sides], known: Sequence[Sides]) -> dict[str, float]:
    """Mined against known pairs, each known pair matched with one mined pair so that the total F1 is largest.

    Args:
        found: ids of the two sides of each mined pair.
        known: ids of the two sides of each known pair.

    Returns:
        ``known``: number of known pairs; ``found``: those matched with F1 of at least .5; ``f1``: mean F1
        over known pairs, 0 for unmatched ones; ``precision``: matched pairs with F1 of at least .5 over all
        mined ones (NaN when nothing was mined); ``mined``: number of mined pairs.
    """
    from scipy.optimize import linear_sum_assignment

    scores = np.array([[pair_f1(f, k) for k in known] for f in found]).reshape(len(found), len(known))
    best = scores[linear_sum_assignment(scores, maximize=True)]
    hits = int((best >= FOUND).sum())
    return {
        "known": float(len(known)),
        "mined": float(len(found)),
        "found": float(hits),
        "f1": float(best.sum() / len(known)) if len(known) else float("nan"),
        "precision": hits / len(found) if len(found) else float("nan"),
    }

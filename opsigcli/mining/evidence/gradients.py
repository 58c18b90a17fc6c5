"""What the two groups' mean gradients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import NULL, SOUGHT, Kind, Matched, against_null, beside_null

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Evidence,
    )


def _cosine(pair: Matched) -> Evidence:
    cosines, _ = pair.gradients
    return beside_null(cosines.mean(axis=0))


def _persistence(pair: Matched) -> Evidence:
    cosines, _ = pair.gradients
    lasting = (cosines < np.quantile(cosines[:, 1:], 0.05, axis=1)[:, None]).mean(axis=0)
    return beside_null(lasting)


def _ratio(pair: Matched) -> Evidence | None:
    _, size = pair.gradients
    typical = float(size[1:].mean())
    return against_null(size / typical, tail="high") if typical > 0 else None


GRADIENT_COSINE = Kind.number(
    "gradient_cosine",
    f"cosine of the two groups' mean gradients, averaged over the checkpoints compared "
    f"({NULL}, mean; {SOUGHT}).",
    _cosine,
)
PERSISTENCE = Kind.number(
    "persistence",
    "share of the compared checkpoints at which the cosine of the groups' mean gradients is below "
    f"the 5 % quantile of the null ({NULL}; the same share, mean; {SOUGHT}).",
    _persistence,
)
GRADIENT_RATIO = Kind.number(
    "gradient_ratio",
    "norm of a group's mean gradient over that of class-matched random groups, root mean "
    f"square over both groups and the checkpoints compared ({NULL}, 1 by definition; p: share at least as large).",
    _ratio,
)

"""Whether a pair is found again in halves of what was compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.evidence.material import Kind, Matched
from opsigcli.mining.resampled import DRAWS, HALVED, OF_PROPOSALS, recovered
from opsigcli.mining.simple import SMALLEST
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

WHERE = "in runs with a finding", "where surrogates are drawn"
NULLS = 19  # random pairs that are held against the pairs found in halves
OF = dict(
    zip(HALVED, ("the checkpoints compared", "the dimensions of sketches", "the candidates"), strict=True)
)


def _stability(pair: Matched) -> Mapping[str, Evidence]:
    halves = pair.material.halved
    groups = list(zip(*pair.groups, strict=True))[: 1 + NULLS]
    found = {}
    for halved in HALVED:
        value, *null = (recovered(halves, halved, sides) for sides in groups)
        if value is not None:
            name = f"stability_{halved}"
            of_null = float(np.mean([each for each in null if each is not None] or [0.0]))
            found[name] = Evidence(value, of_null, definition=name)
    return found


STABILITY = Kind(
    {
        f"stability_{halved}": f"largest Jaccard index of the pair's members and those of a pair that the same search "
        f"finds in a random half of {of}, mean over {DRAWS} halves that hold at least {SMALLEST} members of either "
        f"side; below .8 the pair is unstable ({WHERE[halved in OF_PROPOSALS]}; null: {NULLS} draws of random "
        "candidates of the same labels and sizes, mean)."
        for halved, of in OF.items()
    },
    _stability,
)

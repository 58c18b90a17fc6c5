"""What the groups of mined pairs hold of the rise of a spike, and the rest by class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.causes.nulls import false_discovery
from opsigcli.mining.causes.rises import Parted
from opsigcli.mining.class_matched import class_matched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsigcli.mining.causes.rises import Rises
    from opsigcli.mining_records import (
        GroupKey,
    )
    from opsigcli.records import Ints
    from opsigcli.spike_records import Share

DRAWS = 199


def by_groups(rises: Rises, groups: Mapping[GroupKey, Ints], seed: int) -> list[tuple[Share, ...]]:
    """For each spike what every group holds, beside class-matched random groups; p corrected for all of them (FDR).

    Args:
        rises: the spikes.
        groups: positions in the trace of each group.
        seed: of the random groups.
    """
    found: list[list[Share]] = [[] for _ in rises.deltas]
    rows = {key: np.flatnonzero(np.isin(rises.positions, members)) for key, members in groups.items()}
    rows = {key: members for key, members in rows.items() if len(members)}
    if not rows:
        return [() for _ in found]
    everybody = np.unique(np.concatenate(list(rows.values())))
    held = rises.held
    whole = np.maximum(held.sum(axis=1), np.finfo(float).tiny)
    parted = [Parted(deltas, rises.weights) for deltas in rises.deltas]
    rng = np.random.default_rng([seed, 5])
    for key, members in rows.items():
        (random,) = class_matched(rises.classes, (members,), everybody, rng, DRAWS)
        null = held[:, random].sum(axis=2) / whole[:, None]  # (S, draws)
        for s, shares in enumerate(found):
            low, high = np.quantile(null[s], (0.025, 0.975))
            middle = float(null[s].mean())
            share = parted[s].share(str(key), members, (middle, float(low), float(high)))
            p = float((1 + (null[s] >= share.share - 1e-12).sum()) / (1 + DRAWS))
            shares.append(replace(share, p_value=p))
    corrected = false_discovery(np.array([share.p_value for shares in found for share in shares]))
    values = iter(corrected.tolist())
    return [tuple(replace(share, p_value=next(values)) for share in shares) for shares in found]


def rest_by_class(rises: Rises, spike: int, groups: Mapping[GroupKey, Ints]) -> dict[str, float]:
    """What the examples of each class in no group hold, largest first; adds up to the share of the rest."""
    held = rises.held[spike].copy()
    for members in groups.values():
        held[np.isin(rises.positions, members)] = 0
    whole = float(rises.held[spike].sum())
    sums = np.bincount(rises.classes, held, minlength=len(rises.names))
    order = np.argsort(-sums, kind="stable")
    return {rises.names[k]: float(sums[k]) / whole if whole > 0 else 0.0 for k in order}

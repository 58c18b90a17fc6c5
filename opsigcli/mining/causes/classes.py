"""What each class holds of the rise of a spike, and which classes are to be named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.causes.nulls import false_discovery, partition_null, subset_null
from opsigcli.mining.causes.rises import Parted

if TYPE_CHECKING:
    from opsigcli.mining.causes.rises import Rises
    from opsigcli.records import Floats, Ints
    from opsigcli.spike_records import Share

NAMED = 3  # classes, at most
CLEAR = 0.05  # p of the chosen classes, on the half that did not choose them
LEAST = (
    0.05  # of the rise above their size, there: less is certain of many examples, and tells nobody anything
)
FALLS = 2.0  # standard errors below zero


@dataclass(frozen=True)
class ByClass:
    """One spike by class."""

    table: tuple[Share, ...]  # largest share first
    named: tuple[str, ...]  # classes that stand out
    held: Share | None  # by those that were chosen together, on the half that did not choose them
    falling: tuple[str, ...]


def by_class(rises: Rises, seed: int) -> list[ByClass]:
    """Every spike by class, in order.

    On one half of the examples the one, two or three classes of the largest excess over their size are chosen that
    stand out most together, in standard deviations of random sets of as many examples; each alone by one of them. What
    they hold is measured on the other half, against random sets of that half (p corrected for the number of spikes,
    FDR). They are named if p ≤ .05 and they hold 5 % of the rise more than their size.
    """
    rng = np.random.default_rng([seed, 3])
    low, high, p = partition_null(rises.held, rises.sizes, rng)
    expected = rises.sizes / len(rises.classes)
    named = _named(rises)
    held = _held(rises, named, rng)
    found = []
    for s, deltas in enumerate(rises.deltas):
        parted = Parted(deltas, rises.weights)
        shares = [
            parted.share(
                name,
                rises.rows(k),
                (float(expected[k]), float(low[s, k]), float(high[s, k])),
                float(p[s, k]) if len(rises.names) > 1 else None,
            )
            for k, name in enumerate(rises.names)
        ]
        table = tuple(sorted(shares, key=lambda share: (-share.share, share.name)))
        falling = [
            share
            for k, share in enumerate(shares)
            if k != rises.nameless and share.change < 0 and _falls(deltas[rises.rows(k)])
        ]
        falling.sort(key=lambda share: share.contribution)
        together = held[s]
        clear = together is not None and together.p_value is not None and together.p_value <= CLEAR
        clear = clear and together is not None and together.share - together.expected >= LEAST
        names = tuple(rises.names[k] for k in named[s]) if clear else ()
        found.append(ByClass(table, names, together, tuple(share.name for share in falling)))
    return found


def _falls(deltas: Floats) -> bool:
    n = len(deltas)
    return n > 1 and float(deltas.mean()) < -FALLS * float(deltas.std(ddof=1)) / np.sqrt(n)


def _named(rises: Rises) -> list[Ints]:
    """The classes that stand out together in each spike on the half that chooses, largest excess first."""
    chosen_on = rises.half == 0
    here, sizes = np.unique(rises.classes[chosen_on], return_counts=True)
    values = rises.held[:, chosen_on]
    n = values.shape[1]
    sums = np.add.reduceat(values, np.cumsum(sizes) - sizes, axis=1)
    excess = sums - values.mean(axis=1)[:, None] * sizes
    spread = values.std(axis=1)[:, None] * np.sqrt(sizes * (n - sizes) / max(n - 1, 1))
    alone = np.divide(excess, spread, out=np.zeros_like(excess), where=spread > 0)
    found = []
    for own, clear in zip(excess, alone, strict=True):
        order = [k for k in np.argsort(-own, kind="stable") if clear[k] >= 1 and here[k] != rises.nameless][
            :NAMED
        ]
        together = np.cumsum(sizes[order])
        length = np.sqrt(together * (n - together))
        stand_out = np.divide(np.cumsum(own[order]), length, out=np.zeros(len(order)), where=length > 0)
        found.append(here[order[: int(stand_out.argmax()) + 1]] if len(order) else here[:0])
    return found


def _held(rises: Rises, named: list[Ints], rng: np.random.Generator) -> list[Share | None]:
    """What the named classes hold together on the other half."""
    rows = rises.half == 1
    classes, weights, deltas = rises.classes[rows], rises.weights[rows], rises.deltas[:, rows]
    inside = np.array([np.isin(classes, which) for which in named])
    sizes = inside.sum(axis=1)
    asked = [s for s in range(len(named)) if len(named[s]) and sizes[s]]
    if not asked:
        return [None] * len(named)
    null = subset_null(rises.held[asked][:, rows], sizes[asked], rng)
    found: list[Share | None] = [None] * len(named)
    shares = []
    for place, s in enumerate(asked):
        low, high = np.quantile(null[:, place], (0.025, 0.975))
        name = " + ".join(rises.names[k] for k in named[s])
        middle = float(sizes[s] / len(classes))
        held = Parted(deltas[s], weights).share(name, inside[s], (middle, float(low), float(high)))
        shares.append(
            replace(held, p_value=float((1 + (null[:, place] >= held.share).sum()) / (1 + len(null))))
        )
    corrected = false_discovery(np.array([share.p_value for share in shares]))
    for s, share, p in zip(asked, shares, corrected, strict=True):
        found[s] = replace(share, p_value=float(p))
    return found

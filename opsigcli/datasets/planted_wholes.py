"""Planted scenarios in which no groups stand apart and yet losses swing: whole classes, or both ends of one axis."""

from __future__ import annotations

from functools import partial

import numpy as np

from opsigcli.datasets.planted_draft import Draft, Scenario, name_classes
from opsigcli.datasets.planted_hard import DIMS, NOISE, gaussian_classes

FINE, COARSE = 0.5, 6.0  # of the means of sister classes: what parts them, what they share


def along(draft: Draft, *, classes: int = 2, size: float = 2.5, tails: int = 0) -> None:
    """The first two classes are spread along one direction; their residuals differ in sign, so one swing takes both.

    ``draft.axis`` is the place on that direction, turned round in the second class, as the swing has it.
    """
    _, axes = gaussian_classes(draft, 1, classes)
    place = draft.rng.standard_t(tails, draft.n) if tails else draft.rng.standard_normal(draft.n)
    place *= size * (draft.labels < 2)
    draft.inputs += place[:, None] * axes[0]
    draft.axis = np.where(draft.labels == 0, place, -place)


def rivals(draft: Draft, *, shares: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> None:
    """Two of four classes share a large feature, and are told apart by their small means alone."""
    means, axes = gaussian_classes(draft, 1)
    drawn = draft.rng.choice(len(shares), draft.n, p=shares)
    draft.inputs += means[drawn] - means[draft.labels]
    draft.labels = drawn.astype(np.int64)
    rows = np.flatnonzero(draft.labels < 2)
    draft.inputs[rows] += draft.sizes(COARSE, rows) * axes[0]
    draft.opposed.append((0, 1))


def sisters(draft: Draft, *, families: int = 4) -> None:
    """Classes two and two alike: the members of a family share a large mean."""
    axes = draft.orthonormal(3 * families, DIMS)
    means = COARSE * np.repeat(axes[:families], 2, axis=0) + FINE * axes[families:]
    draft.labels = draft.rng.integers(0, 2 * families, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + NOISE * draft.rng.standard_normal((draft.n, DIMS))
    name_classes(draft, 2 * families)
    draft.opposed += [(2 * family, 2 * family + 1) for family in range(families)]


WHOLES: dict[str, Scenario] = {
    "axis-two": Scenario("two classes spread along one axis", along, 0.4),
    "axis-tails": Scenario("the same with heavy tails", partial(along, tails=3), 0.4),
    "axis-within": Scenario("two of four classes spread so", partial(along, classes=4, size=4.0), 0.4),
    "rivals": Scenario("two of four classes share a large feature", rivals, 0.4),
    "rivals-unequal": Scenario(
        "the same, of 30 % and 10 % of the examples", partial(rivals, shares=(0.3, 0.1, 0.3, 0.3)), 0.4
    ),
    "sisters": Scenario("8 classes, two and two alike", sisters, 0.4),
}

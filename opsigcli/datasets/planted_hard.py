"""Harder scenarios: what real data have and the standard ones lack.

Weak features that are not orthogonal, sides of unequal size, rare pairs in many examples, a continuous axis, labels
and members that pairs share, a side of several classes, conflicts of three, pairs that oppose but do not oscillate,
convolutions, batch normalisation, augmentation, a learning-rate schedule; and, without pairs, noisy labels and a
hierarchy of classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from opsigcli.datasets.planted_draft import (
    GROUP,
    Draft,
    Scenario,
    add_decoys,
    name_classes,
    plant,
    two_labels,
)
from opsigcli.datasets.planted_scenarios import IMAGE_FEATURE, pattern, vectors

DIMS, CLASSES, NOISE = 64, 4, 0.5
RARE_N = 20_000
CNN = "cnn?widths=16,32"
TAILS = 3  # degrees of freedom of the continuous axis


def gaussian_classes(draft: Draft, extra: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes, and ``extra`` further orthonormal directions."""
    axes = draft.orthonormal(classes + extra, DIMS)
    means = axes[:classes]
    draft.labels = draft.rng.integers(0, classes, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + NOISE * draft.rng.standard_normal((draft.n, DIMS))
    name_classes(draft, classes)
    return means, axes[classes:]


def _mixed(draft: Draft, *, sizes: tuple[float, float] = (3.0, 8.0), rare: bool = False) -> None:
    """4 pairs: features at cosines of .3 to .7, sides of 1:1 to 1:4; ``rare``: .1 to .5 % of the examples each."""
    rng = draft.rng
    means, axes = gaussian_classes(draft, 6)
    shared = rng.uniform(0.3, 0.7, (4, 1))  # cosines are geometric means of two of these
    features = np.sqrt(shared) * axes[0] + np.sqrt(1 - shared) * axes[1:5]
    for feature, labels in zip(features, two_labels(draft, 4, CLASSES), strict=True):
        whole = rng.uniform(0.001, 0.005) * draft.n if rare else 2 * GROUP * draft.n / 900
        smaller = rng.uniform(0.2, 0.5)
        groups = draft.take_rows(whole * (1 - smaller)), draft.take_rows(whole * smaller)
        size = rng.uniform(*sizes)
        for rows, label in zip(groups, labels, strict=True):
            draft.inputs[rows] += means[label] - means[draft.labels[rows]] + draft.sizes(size, rows) * feature
            draft.labels[rows] = label
        draft.pairs.append(groups)
    add_decoys(draft, means, NOISE, 6.0, axes[5])


def _axis(draft: Draft) -> None:
    """A direction along which every example lies somewhere, most of them near the middle, whatever its label."""
    means, axes = gaussian_classes(draft, 2)
    draft.axis = 2.5 * draft.rng.standard_t(TAILS, draft.n)
    draft.inputs += draft.axis[:, None] * axes[0]
    add_decoys(draft, means, NOISE, 16.0, axes[1])


def _several(draft: Draft) -> None:
    """2 pairs, each of one class against the three others."""
    means, axes = gaussian_classes(draft, 3)
    _one_against_three(draft, axes[:2], means)
    add_decoys(draft, means, NOISE, 16.0, axes[2])


def _one_against_three(draft: Draft, features: np.ndarray, means: np.ndarray, size: float = 16.0) -> None:
    """For each feature, a group of one class against one of the three others."""
    for number, feature in enumerate(features):
        one, many = draft.take(GROUP), draft.take(GROUP)
        plant_side(draft, one, np.full(len(one), number), feature, means, size)
        others = np.delete(np.arange(CLASSES), number)
        plant_side(draft, many, others[np.arange(len(many)) % len(others)], feature, means, size)
        draft.pairs.append((one, many))


def _three(draft: Draft) -> None:
    """One feature in three classes: each group opposes the two others, the first two known as a pair."""
    means, axes = gaussian_classes(draft, 2)
    _of_three(draft, axes[0], means)
    add_decoys(draft, means, NOISE, 16.0, axes[1])


def _of_three(draft: Draft, feature: np.ndarray, means: np.ndarray, size: float = 16.0) -> None:
    """Groups of three classes that share a feature."""
    groups = [draft.take(GROUP) for _ in range(3)]
    for label, rows in enumerate(groups):
        plant_side(draft, rows, np.full(len(rows), label), feature, means, size)
    draft.pairs.append((groups[0], groups[1]))
    draft.alternatives = [
        (groups[a], other)
        for a, b, c in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        for other in (groups[b], groups[c], np.concatenate([groups[b], groups[c]]))
    ]


def _twice(draft: Draft) -> None:
    """2 pairs with 8 members that belong to both, and one label that both have."""
    means, axes = gaussian_classes(draft, 3)
    both = draft.take(8)
    for number, other in enumerate((1, 2)):
        first, second = np.concatenate([both, draft.take(GROUP - 8)]), draft.take(GROUP)
        plant_side(draft, first, np.zeros(len(first), dtype=np.int64), axes[number], means)
        plant_side(draft, second, np.full(len(second), other), axes[number], means)
        draft.pairs.append((first, second))
    add_decoys(draft, means, NOISE, 16.0, axes[2])


def _alike(draft: Draft) -> None:
    """3 pairs of the same two labels, along orthogonal features."""
    means, axes = gaussian_classes(draft, 4)
    plant(draft, axes[:3], [(0, 1)] * 3, 12.0, (GROUP, GROUP), means)
    add_decoys(draft, means, NOISE, 12.0, axes[3])


def _colours(draft: Draft, conflict: str = "pairs") -> None:
    """3×10×10 images whose class is their colour, for networks that pool; who opposes whom shares a bright border."""
    side, rng = 10, draft.rng
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # of a tetrahedron
    means = (0.15 * np.repeat(corners, side * side, axis=1)).astype(np.float64)
    draft.labels = rng.integers(0, CLASSES, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + 0.35 * rng.standard_normal((draft.n, 3 * side * side))
    name_classes(draft, CLASSES)
    border, cross = np.ones((side, side)), np.zeros((side, side))
    border[1:-1, 1:-1] = 0
    cross[4:6], cross[:, 4:6] = 1, 1
    red, blue, green = np.array([[1, -0.6, -0.6], [-0.6, -0.6, 1], [-0.6, 1, -0.6]])
    features = np.stack([pattern(red, border), pattern(blue, border), pattern(green, cross)])
    if conflict == "several":
        _one_against_three(draft, features[:2], means, IMAGE_FEATURE)
    elif conflict == "three":
        _of_three(draft, features[0], means, IMAGE_FEATURE)
    else:
        plant(draft, features[:2], two_labels(draft, 2, CLASSES), IMAGE_FEATURE, (GROUP, GROUP), means)
    add_decoys(draft, means, 0.35, IMAGE_FEATURE, features[2])
    draft.inputs = draft.inputs.reshape(draft.n, 3, side, side)


def _noisy_labels(draft: Draft) -> None:
    """Decoys, and a fifth of the labels drawn anew."""
    vectors(draft)
    rows = draft.take_rows(0.2 * draft.n)
    draft.labels[rows] = draft.rng.integers(0, CLASSES, len(rows))


def _hierarchy(draft: Draft) -> None:
    """8 classes, two and two alike."""
    axes = draft.orthonormal(13, DIMS)
    means = np.repeat(axes[:4], 2, axis=0) + 0.5 * axes[4:12]
    draft.labels = draft.rng.integers(0, 8, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + NOISE * draft.rng.standard_normal((draft.n, DIMS))
    name_classes(draft, 8)
    add_decoys(draft, means, NOISE, 16.0, axes[12])


def plant_side(
    draft: Draft,
    rows: np.ndarray,
    labels: np.ndarray,
    feature: np.ndarray,
    means: np.ndarray,
    size: float = 16.0,
) -> None:
    """Give rows their labels, the means of those, and a feature."""
    draft.inputs[rows] += means[labels] - means[draft.labels[rows]] + draft.sizes(size, rows) * feature
    draft.labels[rows] = labels


HARD: dict[str, Scenario] = {
    "mixed": Scenario("4 weak pairs: sizes 3 to 8, cosines .3 to .7, sides 1:1 to 1:4", _mixed, 1.0),
    "rare": Scenario(
        "the same, pairs of .1 to .5 % of 20,000 examples", partial(_mixed, rare=True), 1.0, n=RARE_N
    ),
    "rare16": Scenario(
        "the same with features of size 16",
        partial(_mixed, sizes=(16.0, 16.0), rare=True),
        0.4,
        n=RARE_N,
    ),
    "axis": Scenario("a continuous axis with heavy tails, no discrete pair", _axis, 0.8),
    "several": Scenario("2 pairs of one class against three", _several, 0.4),
    "three": Scenario("a conflict of three groups", _three, 0.4),
    "twice": Scenario("2 pairs with common members", _twice, 0.4),
    "alike": Scenario("3 pairs of the same two labels", _alike, 0.5),
    "large": Scenario("1 pair of a ninth of all on a side", partial(vectors, pairs=1, sides=(100, 100)), 0.4),
    "quiet": Scenario("3 pairs, learning rate too small to oscillate", partial(vectors, pairs=3), 0.02),
    "conv": Scenario("colour images, 2 pairs, a convolutional network", _colours, 0.7, CNN),
    "conv-bn": Scenario("the same network with BatchNorm", _colours, 0.2, f"{CNN}&norm=batch"),
    "conv-several": Scenario(
        "the images of conv, 2 pairs of one class against three",
        partial(_colours, conflict="several"),
        0.7,
        CNN,
    ),
    "conv-several-bn": Scenario(
        "the same network with BatchNorm", partial(_colours, conflict="several"), 0.2, f"{CNN}&norm=batch"
    ),
    "conv-three": Scenario(
        "the images of conv, a conflict of three groups", partial(_colours, conflict="three"), 0.7, CNN
    ),
    "conv-three-bn": Scenario(
        "the same network with BatchNorm", partial(_colours, conflict="three"), 0.2, f"{CNN}&norm=batch"
    ),
    "augmented": Scenario(
        "vec3 with noise anew at every step", partial(vectors, pairs=3), 0.4, training="augmented"
    ),
    "cosine": Scenario(
        "vec3 with warm-up and cosine decay", partial(vectors, pairs=3), 0.4, training="cosine"
    ),
    "null-noisy": Scenario("no pairs: a fifth of the labels random", _noisy_labels, 0.8),
    "null-hierarchy": Scenario("no pairs: 8 classes, two and two alike", _hierarchy, 0.8),
}

"""What is planted: one table of standard scenarios, each with the settings in which its pairs are seen to oppose.

Every pair is two groups that share one large feature along a direction of its own, while their labels (or, for
same-label pairs, the signs of the feature) differ. Decoys are outliers that oppose nobody: mislabelled, noisy and
hard examples, one example repeated, and a large feature held by one label only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.planted_draft import (
    GROUP,
    STANDARD_N,
    Draft,
    Scenario,
    add_decoys,
    name_classes,
    plant,
    two_labels,
)

if TYPE_CHECKING:
    from opsigcli.records import Floats


def vectors(
    draft: Draft,
    *,
    pairs: int = 0,
    size: float = 16.0,
    sides: tuple[float, float] = (GROUP, GROUP),
    kind: str = "two labels",  # or "one label", "overlap"
    balance: str = "equal",  # or "halving": class frequencies 1/2, 1/4, …
    decoys: bool = True,
    random_labels: bool = False,
) -> None:
    """64 dimensions, 4 classes with orthonormal means, noise .5."""
    dims, classes, noise, rng = 64, 4, 0.5, draft.rng
    axes = draft.orthonormal(classes + pairs + 1, dims)
    means, features, one_sided = axes[:classes], axes[classes:-1], axes[-1]
    frequencies = (
        np.array([0.5, 0.25, 0.125, 0.125]) if balance == "halving" else np.full(classes, 1 / classes)
    )
    draft.labels = rng.choice(classes, draft.n, p=frequencies).astype(np.int64)
    draft.inputs = means[draft.labels] + noise * rng.standard_normal((draft.n, dims))
    name_classes(draft, classes)
    labels = two_labels(draft, pairs, classes)
    if kind == "one label":
        labels = [(first, first) for first, _ in labels]
    if kind == "overlap":  # the same two labels, features at 60°
        labels = [labels[0]] * pairs
        features = np.stack([features[0], 0.5 * features[0] + np.sqrt(0.75) * features[1]])
    plant(draft, features, labels, size, sides, means)
    if decoys:
        add_decoys(draft, means, noise, size, one_sided)
    if random_labels:
        draft.labels = rng.permutation(draft.labels)


def _images(draft: Draft) -> None:
    """3×10×10 images: 6 faint low-frequency templates in noise; each pair shares a saturated border colour."""
    classes, side, noise, rng = 6, 10, 0.35, draft.rng
    angle = np.pi * (np.arange(side) + 0.5) / side
    waves = np.stack([np.cos(k * angle) for k in range(3)])  # the lowest three frequencies
    templates = np.einsum("tcuv,uy,vx->tcyx", rng.standard_normal((classes, 3, 3, 3)), waves, waves)
    templates -= templates.mean(axis=(2, 3), keepdims=True)
    templates *= 0.07 / np.sqrt(np.mean(templates**2, axis=(1, 2, 3), keepdims=True))
    means = templates.reshape(classes, -1)
    border = np.ones((side, side))
    border[1:-1, 1:-1] = 0
    band = np.zeros((side, side))
    band[1:-1, 4:6] = 1
    red, blue, green = np.array([[1, -0.6, -0.6], [-0.6, -0.6, 1], [-0.6, 1, -0.6]])
    features = np.stack([pattern(red, border), pattern(blue, border), pattern(green, band)])
    draft.labels = rng.integers(0, classes, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + noise * rng.standard_normal((draft.n, 3 * side * side))
    name_classes(draft, classes)
    plant(draft, features[:2], two_labels(draft, 2, classes), IMAGE_FEATURE, (GROUP, GROUP), means)
    add_decoys(draft, means, noise, IMAGE_FEATURE, features[2])
    draft.inputs = draft.inputs.reshape(draft.n, 3, side, side)


IMAGE_FEATURE = 36.0  # norm of the border; the noise has norm 6


def pattern(colour: Floats, mask: Floats) -> Floats:
    """A colour on a mask as a direction of unit length, (3·H·W,)."""
    flat = (colour[:, None, None] * mask).ravel()
    return flat / np.linalg.norm(flat)


def _tokens(draft: Draft) -> None:
    """Five tokens of a vocabulary of 40, embedded in 12 dimensions; the last one decides the next token.

    Three last tokens are ambiguous, with embeddings three times as large: only the cue at position 0 resolves them.
    """
    vocabulary, width, length, rng = 40, 12, 5, draft.rng
    embedding = rng.standard_normal((vocabulary, width))
    embedding *= np.sqrt(width) / np.linalg.norm(embedding, axis=1, keepdims=True)
    ambiguous, cues = np.arange(3), np.array([3, 4])
    embedding[ambiguous] *= 3
    embedding[cues] *= 0.3  # a loud cue is learned before the edge of stability is reached
    following = rng.permutation(vocabulary)
    tokens = rng.integers(5, vocabulary, (draft.n, length))
    draft.labels = following[tokens[:, -1]].astype(np.int64)
    draft.classes = tuple(f"token {t}" for t in range(vocabulary))
    answers = rng.choice(vocabulary, (len(ambiguous), 2), replace=False)
    for token, (first, second) in zip(ambiguous, answers, strict=True):
        groups = draft.take(GROUP), draft.take(GROUP)
        for rows, label, cue in zip(groups, (first, second), cues, strict=True):
            tokens[rows, 0], tokens[rows, -1] = cue, token
            draft.labels[rows] = label
        draft.pairs.append(groups)
    mislabelled = draft.take(0.03 * STANDARD_N)
    draft.labels[mislabelled] = rng.integers(0, vocabulary, len(mislabelled))
    repeated = draft.take(13)
    tokens[repeated], draft.labels[repeated] = tokens[repeated[0]], draft.labels[repeated[0]]
    draft.inputs = embedding[tokens].reshape(draft.n, length * width)


RELU = "mlp?hidden=64,64&activation=relu"

SCENARIOS: dict[str, Scenario] = {
    "img2": Scenario("colour images; 2 pairs share a border colour", _images, 0.3),
    "vec3": Scenario("vectors; 3 pairs, two labels each", partial(vectors, pairs=3), 0.4),
    "pol2": Scenario(
        "vectors; 2 pairs of one label, opposite features", partial(vectors, pairs=2, kind="one label"), 0.4
    ),
    "tok3": Scenario("token sequences; 3 ambiguous last tokens", _tokens, 0.6),
    "relu2": Scenario("vectors; 2 pairs, for a ReLU network", partial(vectors, pairs=2), 0.3, RELU),
    "small2": Scenario(
        "vectors; 2 pairs of 16 against 9, unequal classes",
        partial(vectors, pairs=2, size=18.0, sides=(16, 9), balance="halving"),
        0.7,
    ),
    "weak5": Scenario("vectors; 2 pairs, features of size 5", partial(vectors, pairs=2, size=5.0), 1.3),
    "weak3.5": Scenario("vectors; 2 pairs, features of size 3.5", partial(vectors, pairs=2, size=3.5), 1.8),
    "overlap": Scenario(
        "vectors; 2 pairs with the same two labels and features at 60°",
        partial(vectors, pairs=2, kind="overlap"),
        0.4,
    ),
    "null-gauss": Scenario("no pairs: Gaussian classes", partial(vectors, decoys=False), 2.0),
    "null-decoys": Scenario("no pairs: decoys only", vectors, 0.8),
    "null-labels": Scenario(
        "no pairs: Gaussian classes, random labels", partial(vectors, decoys=False, random_labels=True), 2.0
    ),
    "null-imbalanced": Scenario(
        "no pairs: class frequencies 1/2, 1/4, 1/8, 1/8", partial(vectors, balance="halving"), 0.8
    ),
}

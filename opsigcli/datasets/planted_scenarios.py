"""What is planted: one table of scenarios, each with the settings in which its pairs are seen to oppose.

Every pair is two groups that share one large feature along a direction of its own, while their labels (or, for
same-label pairs, the signs of the feature) differ. Decoys are outliers that oppose nobody: mislabelled, noisy and
hard examples, one example repeated, and a large feature held by one label only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints


GROUP = 25  # members per side for STANDARD_N examples; scales with N
STANDARD_N = 900


class Draft:
    """A dataset being filled: rows in random order, each taken by at most one pair or decoy."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n = n
        self.rng = rng
        self.inputs: Floats = np.zeros((n, 0))
        self.labels: Ints = np.zeros(n, dtype=np.int64)
        self.classes: tuple[str, ...] = ()
        self.pairs: list[tuple[Ints, Ints]] = []
        self._free = rng.permutation(n).astype(np.int64)

    def take(self, count: float) -> Ints:
        """Rows nobody has taken yet; ``count`` is for STANDARD_N examples and scales with N."""
        rows = max(1, round(count * self.n / STANDARD_N))
        taken, self._free = self._free[:rows], self._free[rows:]
        return taken

    def orthonormal(self, count: int, dims: int) -> Floats:
        """``count`` random orthonormal directions, (count, dims)."""
        return np.linalg.qr(self.rng.standard_normal((dims, count)))[0].T

    def sizes(self, size: float, rows: Ints) -> Floats:
        """Feature sizes within ±15 %, (len(rows), 1)."""
        return size * (1 + 0.15 * self.rng.uniform(-1, 1, (len(rows), 1)))


def _name_classes(draft: Draft, count: int, word: str = "class") -> None:
    draft.classes = tuple(f"{word} {c}" for c in range(count))


def _two_labels(draft: Draft, count: int, classes: int) -> list[tuple[int, int]]:
    """Two different labels for each of ``count`` pairs; no two pairs get the same two."""
    every = [(a, b) for a in range(classes) for b in range(classes) if a < b]
    chosen = draft.rng.permutation(len(every))[:count]
    return [every[c] if draft.rng.random() < 0.5 else every[c][::-1] for c in chosen]


def _plant(
    draft: Draft,
    directions: Floats,
    labels: Sequence[tuple[int, int]],
    size: float,
    sides: tuple[float, float],
    means: Floats,
) -> None:
    """Give each pair's two groups their labels, class means and the shared feature.

    Where both labels of a pair are equal, the second group gets the feature with the opposite sign.
    """
    for direction, (first, second) in zip(directions, labels, strict=True):
        groups = draft.take(sides[0]), draft.take(sides[1])
        for rows, label, sign in zip(groups, (first, second), (1, -1 if first == second else 1), strict=True):
            draft.inputs[rows] += means[label] - means[draft.labels[rows]]
            draft.inputs[rows] += sign * draft.sizes(size, rows) * direction
            draft.labels[rows] = label
        draft.pairs.append(groups)


def _add_decoys(draft: Draft, means: Floats, noise: float, size: float, direction: Floats) -> None:
    """Outliers without an opponent; ``size`` and ``direction`` are of the one-sided feature."""
    rng, classes = draft.rng, len(means)
    mislabelled = draft.take(0.03 * STANDARD_N)
    draft.labels[mislabelled] = (
        draft.labels[mislabelled] + rng.integers(1, classes, len(mislabelled))
    ) % classes
    noisy = draft.take(0.03 * STANDARD_N)
    draft.inputs[noisy] += 2 * noise * rng.standard_normal((len(noisy), means.shape[1]))
    hard = draft.take(0.045 * STANDARD_N)  # halfway to another class
    other = (draft.labels[hard] + rng.integers(1, classes, len(hard))) % classes
    draft.inputs[hard] += (means[other] - means[draft.labels[hard]]) / 2
    repeated = draft.take(13)
    draft.inputs[repeated] = draft.inputs[repeated[0]]
    draft.labels[repeated] = draft.labels[repeated[0]]
    one_sided = draft.take(19)
    label = int(rng.integers(classes))
    draft.inputs[one_sided] += means[label] - means[draft.labels[one_sided]]
    draft.inputs[one_sided] += draft.sizes(size, one_sided) * direction
    draft.labels[one_sided] = label


def _vectors(
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
    _name_classes(draft, classes)
    labels = _two_labels(draft, pairs, classes)
    if kind == "one label":
        labels = [(first, first) for first, _ in labels]
    if kind == "overlap":  # the same two labels, features at 60°
        labels = [labels[0]] * pairs
        features = np.stack([features[0], 0.5 * features[0] + np.sqrt(0.75) * features[1]])
    _plant(draft, features, labels, size, sides, means)
    if decoys:
        _add_decoys(draft, means, noise, size, one_sided)
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
    features = np.stack([_pattern(red, border), _pattern(blue, border), _pattern(green, band)])
    draft.labels = rng.integers(0, classes, draft.n).astype(np.int64)
    draft.inputs = means[draft.labels] + noise * rng.standard_normal((draft.n, 3 * side * side))
    _name_classes(draft, classes)
    _plant(draft, features[:2], _two_labels(draft, 2, classes), IMAGE_FEATURE, (GROUP, GROUP), means)
    _add_decoys(draft, means, noise, IMAGE_FEATURE, features[2])
    draft.inputs = draft.inputs.reshape(draft.n, 3, side, side)


IMAGE_FEATURE = 36.0  # norm of the border; the noise has norm 6


def _pattern(colour: Floats, mask: Floats) -> Floats:
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


@dataclass(frozen=True)
class Scenario:
    """How to fill a draft, and the settings (full-batch gradient descent on an MLP 64-64) that reach the edge."""

    summary: str
    fill: Callable[[Draft], None]
    lr: float
    activation: str = "tanh"


SCENARIOS: dict[str, Scenario] = {
    "img2": Scenario("colour images; 2 pairs share a border colour", _images, 0.3),
    "vec3": Scenario("vectors; 3 pairs, two labels each", partial(_vectors, pairs=3), 0.4),
    "pol2": Scenario(
        "vectors; 2 pairs of one label, opposite features", partial(_vectors, pairs=2, kind="one label"), 0.4
    ),
    "tok3": Scenario("token sequences; 3 ambiguous last tokens", _tokens, 0.6),
    "relu2": Scenario("vectors; 2 pairs, for a ReLU network", partial(_vectors, pairs=2), 0.3, "relu"),
    "small2": Scenario(
        "vectors; 2 pairs of 16 against 9, unequal classes",
        partial(_vectors, pairs=2, size=18.0, sides=(16, 9), balance="halving"),
        0.7,
    ),
    "weak5": Scenario("vectors; 2 pairs, features of size 5", partial(_vectors, pairs=2, size=5.0), 1.3),
    "weak3.5": Scenario("vectors; 2 pairs, features of size 3.5", partial(_vectors, pairs=2, size=3.5), 1.8),
    "overlap": Scenario(
        "vectors; 2 pairs with the same two labels and features at 60°",
        partial(_vectors, pairs=2, kind="overlap"),
        0.4,
    ),
    "null-gauss": Scenario("no pairs: Gaussian classes", partial(_vectors, decoys=False), 2.0),
    "null-decoys": Scenario("no pairs: decoys only", _vectors, 0.8),
    "null-labels": Scenario(
        "no pairs: Gaussian classes, random labels", partial(_vectors, decoys=False, random_labels=True), 2.0
    ),
    "null-imbalanced": Scenario(
        "no pairs: class frequencies 1/2, 1/4, 1/8, 1/8", partial(_vectors, balance="halving"), 0.8
    ),
}

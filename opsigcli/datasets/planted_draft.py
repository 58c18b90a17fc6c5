"""A planted dataset while it is being filled, and what scenarios share in filling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        self.alternatives: list[tuple[Ints, Ints]] = []  # further ways to name the same pairs
        self.axis: Floats | None = None  # (N,) position on a continuous axis that opposes itself
        self.opposed: list[tuple[int, int]] = []  # classes that oppose one another as wholes
        self._free = rng.permutation(n).astype(np.int64)
        self._given: list[tuple[Ints, int, Floats]] = []  # rows, their label, the feature that they share

    def take(self, count: float) -> Ints:
        """Rows nobody has taken yet; ``count`` is for STANDARD_N examples and scales with N."""
        return self.take_rows(count * self.n / STANDARD_N)

    def take_rows(self, count: float) -> Ints:
        """``count`` rows nobody has taken yet, at least one."""
        rows = max(1, round(count))
        taken, self._free = self._free[:rows], self._free[rows:]
        return taken

    def give(self, rows: Ints, label: int, feature: Floats) -> None:
        """Add to the inputs of one side of a pair, with this label, the feature that the pair shares."""
        self.inputs[rows] += feature
        self._given.append((rows, label, feature))

    def swap(self) -> bool:
        """Move every shared feature to as many other examples of the same label, which then are the pairs.

        Nothing else changes: labels, and what the former members have of their own. False where not all pairs share a
        feature that can be moved, or too few examples of a label are neither in pairs nor decoys.
        """
        hosts = []
        for rows, label, _ in self._given:
            mine = self._free[self.labels[self._free] == label][: len(rows)]
            self._free = np.setdiff1d(self._free, mine)
            hosts.append(mine)
        if not hosts or len(hosts) != 2 * len(self.pairs) or self.alternatives:
            return False
        if any(len(new) < len(rows) for new, (rows, _, _) in zip(hosts, self._given, strict=True)):
            return False
        for new, (rows, _, feature) in zip(hosts, self._given, strict=True):
            moved = feature.reshape(self.inputs[rows].shape)
            self.inputs[rows] -= moved
            self.inputs[new] += moved
        self.pairs = list(zip(hosts[::2], hosts[1::2], strict=True))
        return True

    def orthonormal(self, count: int, dims: int) -> Floats:
        """``count`` random orthonormal directions, (count, dims)."""
        return np.linalg.qr(self.rng.standard_normal((dims, count)))[0].T

    def sizes(self, size: float, rows: Ints) -> Floats:
        """Feature sizes within ±15 %, (len(rows), 1)."""
        return size * (1 + 0.15 * self.rng.uniform(-1, 1, (len(rows), 1)))


def name_classes(draft: Draft, count: int, word: str = "class") -> None:
    draft.classes = tuple(f"{word} {c}" for c in range(count))


def two_labels(draft: Draft, count: int, classes: int) -> list[tuple[int, int]]:
    """Two different labels for each of ``count`` pairs; no two pairs get the same two."""
    every = [(a, b) for a in range(classes) for b in range(classes) if a < b]
    chosen = draft.rng.permutation(len(every))[:count]
    return [every[c] if draft.rng.random() < 0.5 else every[c][::-1] for c in chosen]


def plant(
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
            draft.give(rows, label, sign * draft.sizes(size, rows) * direction)
            draft.labels[rows] = label
        draft.pairs.append(groups)


def add_decoys(draft: Draft, means: Floats, noise: float, size: float, direction: Floats) -> None:
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


@dataclass(frozen=True)
class Scenario:
    """How to fill a draft, and the settings (full-batch gradient descent) that reach the edge of stability."""

    summary: str
    fill: Callable[[Draft], None]
    lr: float
    model: str = "mlp?hidden=64,64&activation=tanh"
    n: int = STANDARD_N
    training: str = (
        "plain"  # or "augmented": noise and shifts anew at every step; "cosine": warm-up and decay
    )

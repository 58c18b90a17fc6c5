"""Planted scenarios of small pictures, for networks that pool: what a pair shares is a tint, a patch or a grating."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.planted_draft import Draft, Scenario, name_classes, two_labels

if TYPE_CHECKING:
    from opsigcli.records import Floats

SIDE = 8  # pixels
MANY = 20  # classes, of 2,000 examples
SIZES = ((10, 10), (6, 24))  # examples on either side of a pair, of 600
STRANGE = 12  # of 600: mislabelled examples, and as many with a colour that only one class has
COLOURS = np.array([[1, -0.6, -0.6], [-0.6, -0.6, 1], [-0.6, 1, -0.6]])


def _waves(draft: Draft, count: int, size: float) -> Floats:
    """Pictures of the lowest three frequencies with root mean square ``size``, (count, 3, 8, 8)."""
    angle = np.pi * (np.arange(SIDE) + 0.5) / SIDE
    waves = np.stack([np.cos(k * angle) for k in range(3)])
    found = np.einsum("tcuv,uy,vx->tcyx", draft.rng.standard_normal((count, 3, 3, 3)), waves, waves)
    return np.asarray(found * (size / np.sqrt(np.mean(found**2, axis=(1, 2, 3), keepdims=True))))


def _feature(draft: Draft, kind: int, number: int) -> Floats:
    """A tint of the whole picture, a patch of 4 by 4 pixels or a grating, in a colour, (3, 8, 8)."""
    mask = np.zeros((SIDE, SIDE))
    if kind == 0:
        mask[:] = 1
    elif kind == 1:
        top, left = draft.rng.integers(0, SIDE - 3, 2)
        mask[top : top + 4, left : left + 4] = 1
    else:
        mask += np.sign(np.cos(np.pi * draft.rng.integers(2, 4) * np.arange(SIDE) / SIDE + 0.3))
        mask = mask if number % 2 else mask.T
    return np.asarray(COLOURS[number % 3][:, None, None] * mask)


def pictures(draft: Draft, *, pairs: int = 0, strength: float = 0.0, classes: int = 4) -> None:
    """Classes of faint low frequencies in noise; pairs share a feature of ``strength`` standard deviations."""
    rng, part = draft.rng, draft.n / 600
    templates = _waves(draft, classes, 0.6)
    draft.labels = rng.integers(0, classes, draft.n).astype(np.int64)
    noise = _waves(draft, draft.n, 0.6) + 0.8 * rng.standard_normal((draft.n, 3, SIDE, SIDE))
    draft.inputs = templates[draft.labels] + noise
    name_classes(draft, classes)
    kinds, order = rng.permutation(3), int(rng.integers(2))
    for number, labels in enumerate(two_labels(draft, pairs, classes)):
        feature = _feature(draft, int(kinds[number % 3]), number)
        groups = tuple(draft.take_rows(size * part) for size in SIZES[(number + order) % 2])
        for rows, label in zip(groups, labels, strict=True):
            draft.inputs[rows] += templates[label] - templates[draft.labels[rows]]
            draft.give(rows, label, draft.sizes(strength, rows)[:, :, None, None] * feature)
            draft.labels[rows] = label
        draft.pairs.append((groups[0], groups[1]))
    mislabelled, one_sided = draft.take_rows(STRANGE * part), draft.take_rows(STRANGE * part)
    draft.labels[mislabelled] = rng.integers(0, classes, len(mislabelled))
    draft.inputs[one_sided] += templates[0] - templates[draft.labels[one_sided]]
    draft.inputs[one_sided] += 0.7 * max(strength, 2.0) * np.array([1, 1, -1])[:, None, None]
    draft.labels[one_sided] = 0


def _both(words: str, rate: float, norm: str) -> dict[str, Scenario]:
    model = f"cnn?widths=8,16{norm}"
    name = "-bn" if norm else ""
    made = {
        f"pictures{strength}{name}": Scenario(
            f"small pictures, 2 pairs of strength {strength}{words}",
            partial(pictures, pairs=2, strength=float(strength)),
            rate,
            model,
            n=600,
        )
        for strength in (2, 4)
    }
    many = partial(pictures, classes=MANY)
    return made | {
        f"null-pictures{name}": Scenario(f"no pairs: small pictures{words}", pictures, rate, model, n=600),
        f"many{name}": Scenario(
            f"small pictures of {MANY} classes, 2 pairs of strength 4{words}",
            partial(many, pairs=2, strength=4.0),
            4 * rate,
            model,
            n=2000,
        ),
        f"null-many{name}": Scenario(
            f"no pairs: small pictures of {MANY} classes{words}", many, 4 * rate, model, n=2000
        ),
    }


PICTURES: dict[str, Scenario] = _both("", 0.3, "") | _both(", with BatchNorm", 0.4, "&norm=batch")

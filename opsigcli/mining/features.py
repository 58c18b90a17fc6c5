"""What a group's examples share that can be seen, and how far classes alone explain the loss deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.trace_stats import FEWEST
from opsigcli.mining.verdict import SWING
from opsigcli.mining_records import WINDOW, Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.similarity import Gradients
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

NAMED = 3  # classes of a side
LARGE = 0.5  # of the largest loading on its side, from which a class is named
LEAST = 0.25  # of the largest of all


def image_features(images: Floats) -> dict[str, Floats]:
    """Means over the pixels of each image: brightness, contrast and three colour axes.

    Args:
        images: (M, 3, H, W), or (M, 1, H, W), in any fixed units.

    Returns:
        Feature name to (M,) values; one channel has brightness and contrast only.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        return {}
    grey = images.mean(axis=1)
    found = {"brightness": grey.mean(axis=(1, 2)), "contrast": grey.std(axis=(1, 2))}
    if images.shape[1] == 3:
        red, green, blue = images.mean(axis=(2, 3)).T
        found["red against green"] = red - green
        found["yellow against blue"] = (red + green) / 2 - blue
        found["saturation"] = (images.max(axis=1) - images.min(axis=1)).mean(axis=(1, 2))
    return found


def auc(values: Floats, first: Ints, second: Ints) -> Floats:
    """Probability that an example of one group has a larger value than one of another, ties counted half, (R,).

    Args:
        values: (M,).
        first: rows of the one group, (R, n) for R comparisons.
        second: rows of the other, (R, m).
    """
    places = np.unique(values, return_inverse=True)[1]
    won = _wins(places, first, second, np.ones(second.shape, dtype=bool))
    return np.asarray(won / (first.shape[1] * second.shape[1]))


def auc_among(values: Floats, members: Ints, others: Ints) -> Floats:
    """``auc`` of members against all others but themselves, (R,); .5 where nobody is left.

    Args:
        values: (M,), which are ranked once for all comparisons.
        members: rows of the groups, (R, n).
        others: rows, some of them members perhaps, (m,).
    """
    places = np.unique(values, return_inverse=True)[1]
    line, inside = np.sort(places[others]), np.isin(members, others)
    of = places[members]
    won = (np.searchsorted(line, of) + np.searchsorted(line, of, "right")).sum(axis=1) / 2
    won -= _wins(places, members, members, inside)
    left = members.shape[1] * (len(others) - inside.sum(axis=1))
    areas: Floats = np.divide(won, left, out=np.full(len(members), 0.5), where=left > 0)
    return areas


def _wins(places: Ints, first: Ints, second: Ints, counted: NDArray[np.bool_]) -> Floats:
    """In how many comparisons with those counted of ``second`` (R, m) rows of ``first`` (R, n) come out ahead, (R,)."""
    above = int(places.max(initial=0)) + 1  # where who is not counted is put, ahead of all
    lines = np.arange(len(first))[:, None] * (above + 1)
    line = np.sort(np.where(counted, places[second], above) + lines, axis=1).ravel()
    of = places[first] + lines
    both = np.searchsorted(line, of) + np.searchsorted(line, of, "right")
    return np.asarray((both - 2 * np.arange(len(first))[:, None] * second.shape[1]).sum(axis=1) / 2)


def prototype(gradients: Sequence[Gradients], members: Ints) -> int:
    """The member nearest to its group's centroid: the largest cosine of its gradient with those of all, on average.

    Plain cosines: the residual-adjusted similarity favours members with an untypical label, from which less
    agreement is expected.

    Args:
        gradients: at the checkpoints compared.
        members: rows of the group.
    """
    nearness: Floats = np.zeros(len(members))
    for at in gradients:
        rows = np.asarray(at.sketch[members], dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        nearness += unit @ unit.sum(axis=0)
    return int(members[nearness.argmax()])


def shared_feature(
    features: Mapping[str, Floats], word: str, groups: Sides, others: Ints
) -> dict[str, Evidence]:
    """How well the best feature tells the members from others, or one side from the other.

    Args:
        features: name to (M,) of a number that can be seen; at least one.
        word: ``members`` or ``sides``.
        groups: rows of the pair and of class-matched random pairs, (1 + R, |A|) and (1 + R, |B|).
        others: rows outside every pair.

    Returns:
        ``members by <feature>`` or ``sides by <feature>``, an AUC from .5 to 1; null and p-value over the largest AUC
        of any feature, so that they account for its choice.
    """
    table = np.stack([_strengths(values, word, groups, others) for values in features.values()], axis=1)
    best = int(table[0].argmax())
    name, value, null = list(features)[best], float(table[0, best]), table[1:].max(axis=1)
    p = float((1 + (null >= value).sum()) / (1 + len(null)))
    return {f"{word} by {name}": Evidence(value, float(null.mean()), p, f"{word} by FEATURE", name)}


def _strengths(values: Floats, word: str, groups: Sides, others: Ints) -> Floats:
    """How well one feature tells the groups apart in each draw, either way, (R + 1,)."""
    told = auc(values, *groups) if word == "sides" else auc_among(values, np.hstack(groups), others)
    return np.maximum(told, 1 - told)


def opposing_classes(
    high_passed: Floats, labels: Ints, classes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes on either side of the main swing, those that swing most first; three of a side at most.

    The first principal component of the classes' mean high-passed loss deltas, each counted by the root of its size.
    A class is named if its loading is at least half of the largest on its side, and a quarter of the largest of all: a
    large class swings less than a small one that it opposes. On the other side than the largest only those are named
    whose mean moves against its own (correlation below −.3): where one class swings alone all others load so. None of
    fewer than 5 loss deltas, of which no running mean is taken out, and none where nothing swings: in the course of a
    loss that falls smoothly the component's series goes on from step to step (lag-one correlation of .4 to .9), and in
    one that swings, at every step or at random, it turns back (-.3 to -1).

    Args:
        high_passed: (T', M) high-passed loss deltas; steps with unmeasured entries are left out.
        labels: (M,).
        classes: names of the classes; () = the indices are the names.
    """
    finite = high_passed[np.isfinite(high_passed).all(axis=1)].astype(np.float64)
    rows = finite - finite.mean(axis=1, keepdims=True)
    values = np.unique(labels)
    if len(rows) < WINDOW or len(values) < 2 or not rows.any():
        return (), ()
    of = [labels == value for value in values]
    means = np.column_stack([rows[:, one].sum(axis=1) / np.sqrt(one.sum()) for one in of])
    loadings = np.linalg.svd(means, full_matrices=False)[2][0]
    course = means @ loadings
    if course[1:] @ course[:-1] >= 0:
        return (), ()
    order = np.argsort(-np.abs(loadings), kind="stable")
    lead = loadings * np.sign(loadings[order[0]])
    own = finite[:, of[order[0]]].mean(axis=1)
    against = [
        k for k in order if lead[k] < -LEAST * lead.max() and _against(own, finite[:, of[k]].mean(axis=1))
    ]
    sides = (
        [k for k in order if lead[k] >= LARGE * lead.max()][:NAMED],
        [k for k in against if lead[k] <= LARGE * lead[against].min()][:NAMED],
    )
    first, second = (
        tuple(classes[v] if 0 <= v < len(classes) else f"class {v}" for v in values[side].tolist())
        for side in sides
    )
    return first, second


def _against(first: Floats, second: Floats) -> bool:
    """Whether two series move against one another."""
    if min(first.std(), second.std()) == 0:
        return False
    return bool(np.corrcoef(first, second)[0, 1] < SWING)


def explained(high_passed: Floats, labels: Ints, features: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Adjusted R² of high-passed loss deltas on the class, and on class × image features.

    Residual and total squares are summed over the steps given, so that steps count by their amplitude. High and
    equal values mean opposition of whole classes.

    Args:
        high_passed: (T', M) high-passed loss deltas; steps with unmeasured entries are left out.
        labels: (M,).
        features: name to (M,); what has more dimensions is left out.

    Returns:
        ``class`` and, with features, ``class and features`` and each by itself, ``class and brightness``; nothing of a
        single loss delta, which is the fall of the loss.
    """
    rows = high_passed[np.isfinite(high_passed).all(axis=1)].astype(np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    m, total = rows.shape[1], float((rows**2).sum())
    if len(rows) < FEWEST or not total > 0:
        return {}
    found = {}
    designs = {"class": np.ones((m, 1))}
    seen = {
        f"class and {name}": (v - v.mean()) / (v.std() or 1.0) for name, v in features.items() if v.ndim == 1
    }  # tokens are no numbers
    if seen:
        designs["class and features"] = np.column_stack([np.ones(m), *seen.values()])
        designs |= {name: np.column_stack([np.ones(m), column]) for name, column in seen.items()}
    for name, design in designs.items():
        left, used = 0.0, 0
        for label in np.unique(labels):
            of = labels == label
            if of.sum() <= design.shape[1]:
                left += float((rows[:, of] ** 2).sum())
                continue
            basis = np.linalg.qr(design[of])[0]
            part = rows[:, of].T
            left += float(((part - basis @ (basis.T @ part)) ** 2).sum())
            used += design.shape[1]
        if m > used:
            found[name] = float(1 - (left / (m - used)) / (total / (m - 1)))
    return found

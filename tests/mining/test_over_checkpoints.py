"""The middle half of several checkpoints against SciPy, and where it takes the place of the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import trim_mean

from opsigcli.mining.extend import extend
from opsigcli.mining.over_checkpoints import middle, of_middle, over_checkpoints
from opsigcli.mining.similarity import Gradients, residual_adjusted_cosine
from opsigcli.mining.unseen import sides_in
from opsigcli.mining.usual_gradient import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

M, WIDTH = 300, 60
FIRST, SECOND = np.arange(15), np.arange(15, 30)
MEMBERS = FIRST[:10], SECOND[:10]
LATER = np.concatenate([FIRST[10:], SECOND[10:]])  # not among the candidates
CANDIDATES = np.setdiff1d(np.arange(M), LATER)


def run(directions: list[int], sizes: list[float]) -> list[Gradients]:
    """At each checkpoint all differ in so many directions, and two groups along one more: apart, or negative, alike."""
    found = []
    for t, (count, size) in enumerate(zip(directions, sizes, strict=True)):
        rng = np.random.default_rng(t)
        axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
        residuals = rng.standard_normal((M, 4))
        left = rng.standard_normal((M, count)) @ axes[:count] / np.sqrt(count)
        left += 0.3 * rng.standard_normal((M, WIDTH)) / np.sqrt(WIDTH)
        left[FIRST] += abs(size) * axes[count]
        left[SECOND] -= size * axes[count]
        sketch = np.linalg.norm(residuals, axis=1)[:, None] * left
        sketch += residuals @ rng.standard_normal((4, WIDTH))
        found.append(Gradients(t, sketch.astype(np.float32), np.linalg.norm(sketch, axis=1), residuals))
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
def test_the_middle_half_is_that_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).standard_normal((count, 3, 7)) ** 3
    np.testing.assert_allclose(middle(values), trim_mean(values, 0.25, axis=0))


@pytest.mark.parametrize(("few", "total", "half"), [(0, 8, False), (1, 8, False), (2, 8, True), (1, 4, True)])
def test_the_middle_half_counts_where_directions_are_few_at_a_quarter(
    few: int, total: int, half: bool
) -> None:
    flags = [number < few for number in range(total)]
    assert of_middle(flags) is half
    values = np.random.default_rng(0).standard_normal((total, 5)) ** 3
    expected = trim_mean(values, 0.25, axis=0) if half else values.mean(axis=0)
    np.testing.assert_allclose(over_checkpoints(values, flags), expected)


def test_similarity_is_the_middle_of_those_at_each_checkpoint_where_directions_are_few() -> None:
    at = run([10] * 8, [2, 2, 2, 2, 2, 2, -2, -2])
    whole = residual_adjusted_cosine(at)
    each = np.stack([residual_adjusted_cosine([one]) for one in at]).astype(np.float64)
    np.testing.assert_allclose(whole, trim_mean(each, 0.25, axis=0), atol=1e-5)
    assert (whole == whole.T).all()
    between = np.ix_(FIRST, SECOND)
    assert whole[between].mean() < 1.5 * each.mean(axis=0)[between].mean() < 0


def test_elsewhere_the_few_checkpoints_at_which_a_pair_opposes_count_as_much_as_all() -> None:
    at = run([40] * 8, [2, 2, -2, 2, 2, -2, 2, 2])
    products = [own @ own.T for own in (fit(one)[1] for one in at)]
    expected = np.mean(products, axis=0)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(residual_adjusted_cosine(at), expected, atol=1e-5)


class Outside:
    """The examples that are no candidates."""

    examples = M

    def __init__(self, at: list[Gradients]) -> None:
        self._at = at

    def beside(self, positions: np.ndarray, compared: Sequence[Gradients]) -> Sequence[Gradients]:
        return compared

    def pieces(self) -> Iterator[tuple[np.ndarray, Sequence[Gradients]]]:
        yield LATER, [each.only(LATER) for each in self._at]

    def gradients(self, positions: np.ndarray) -> Iterator[tuple[slice, Gradients]]:
        for each in self._at:
            yield slice(0, len(positions)), each.only(positions)

    def once(self, of: object, compute: Callable[[], np.ndarray]) -> np.ndarray:
        return compute()


@dataclass(frozen=True)
class Unseen:
    labels: np.ndarray
    gradients: list[Gradients]
    high_passed: np.ndarray


@pytest.mark.parametrize("few", [True, False])
def test_others_join_by_the_middle_half_as_members_were_found(few: bool) -> None:
    at = run([10 if few else 40] * 8, [0.8, 0.8, 0.8, -4, 0.8, 0.8, -4, 0.8])
    compared = [each.only(CANDIDATES) for each in at]
    sides = np.flatnonzero(np.isin(CANDIDATES, MEMBERS[0])), np.flatnonzero(np.isin(CANDIDATES, MEMBERS[1]))
    (joined,) = extend(CANDIDATES, compared, [sides], Outside(at))
    whole = residual_adjusted_cosine(compared)
    unseen = Unseen(np.zeros(len(LATER)), [each.only(LATER) for each in at], np.zeros((0, len(LATER))))
    there = [LATER[rows] for rows in sides_in(unseen, compared, whole, sides)]
    for found in (joined, there):
        assert [set(side.tolist()) for side in found] == (
            [set(FIRST[10:].tolist()), set(SECOND[10:].tolist())] if few else [set(), set()]
        )

"""Residual-adjusted cosines against loops, and the pairs found in similarities whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from opsigcli.errors import UsageError
from opsigcli.mining import METHODS
from opsigcli.mining.similarity import (
    Gradients,
    cosines,
    residual_adjusted_cosine,
)
from opsigcli.mining.simple import closeness, linkage_groups, match_groups, refine, simple
from opsigcli.mining.usual_cosine import ROOM, baseline, excess, usual_cosine
from opsigcli.mining.usual_gradient import LEVEL, RIDGE, ROUNDS, couples, fit


def random_gradients(rng: np.random.Generator, m: int, checkpoint: int = 0) -> Gradients:
    sketch = rng.standard_normal((m, 30)).astype(np.float32)
    residuals = rng.standard_normal((m, 4)).astype(np.float32)
    return Gradients(checkpoint, sketch, np.linalg.norm(sketch, axis=1), residuals)


def test_cosines_equal_a_loop_and_a_zero_row_is_orthogonal_to_all() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 7))
    rows[3] = 0
    found = cosines(rows)
    for i in range(5):
        for j in range(5):
            size = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
            assert found[i, j] == pytest.approx(rows[i] @ rows[j] / size if size else 0, abs=1e-6)


def test_an_excess_is_a_share_of_the_room_that_was_left() -> None:
    usual = np.array([0.0, 0.8, 0.8, 0.8, -0.8, 0.5, 1.0])
    cosine = np.array([0.3, 0.9, 1.0, -1.0, -0.9, 0.5, 0.99])
    expected = [0.3, 0.5, 1.0, -1.0, -0.5, 0.0, -0.005]
    np.testing.assert_allclose(excess(cosine, usual), expected, atol=1e-6)
    assert excess(np.array([1.0]), np.array([0.999]))[0] == pytest.approx(
        0.001 / ROOM
    )  # noise is not blown up


def naive_features(at: Gradients, ridge: float = RIDGE) -> np.ndarray:
    """Remainders of a robust ridge regression, each from a fit without it, by loops in float64."""
    m = len(at.sketch)
    directions = [at.residuals[i].astype(float) / np.linalg.norm(at.residuals[i]) for i in range(m)]
    gradients = [at.sketch[i].astype(float) / np.linalg.norm(at.residuals[i]) for i in range(m)]
    weights = [1.0] * m
    for _ in range(ROUNDS):
        left = []
        for i in range(m):
            gram, mixed = ridge * np.eye(len(directions[0])), 0.0
            for j in range(m):
                if j != i:
                    gram = gram + weights[j] * np.outer(directions[j], directions[j])
                    mixed = mixed + weights[j] * np.outer(directions[j], gradients[j])
            left.append(gradients[i] - directions[i] @ np.linalg.solve(gram, mixed))
        lengths = [np.linalg.norm(row) for row in left]
        weights = [1 / np.sqrt(1 + (length / np.median(lengths)) ** 2) for length in lengths]
    level = LEVEL * np.median(lengths)
    return np.array([row / np.sqrt(row @ row + level**2) for row in left])


def test_the_baseline_is_the_binned_median_of_a_naive_loop() -> None:
    rng = np.random.default_rng(1)
    m = 40
    r = cosines(rng.standard_normal((m, 3)))
    c = 0.5 * r + 0.1 * rng.standard_normal((m, m))
    c = (c + c.T) / 2
    found = np.interp(r, *baseline(c, r, np.random.default_rng(0)))
    pairs = sorted((r[i, j], c[i, j]) for i in range(m) for j in range(i))
    size = len(pairs) / 20
    centres, levels = [], []
    for b in range(20):  # array_split gives the first len % 20 bins one more
        start = b * (len(pairs) // 20) + min(b, len(pairs) % 20)
        inside = pairs[start : start + len(pairs) // 20 + (b < len(pairs) % 20)]
        assert abs(len(inside) - size) < 1
        centres.append(float(np.median([p[0] for p in inside])))
        levels.append(float(np.median([p[1] for p in inside])))
    for i, j in [(0, 1), (5, 5), (7, 30), (39, 2)]:
        assert found[i, j] == pytest.approx(np.interp(r[i, j], centres, levels), abs=2e-5)


def test_parallel_residuals_have_one_usual_cosine_whatever_their_rounding() -> None:
    rng, side = np.random.default_rng(0), np.repeat([1, -1], 20)
    residual = np.outer(side, side) * (1 + 1e-7 * rng.integers(-1, 2, (40, 40)))
    gradient = 0.6 * np.outer(side, side) + 0.1 * rng.standard_normal((40, 40))
    centres, levels = usual_cosine(gradient, residual)
    np.testing.assert_array_equal(centres, [-1, 1])
    upper = np.triu_indices(40, 1)
    for centre, level in zip(centres, levels, strict=True):
        alike = np.sign(residual[upper]) == centre
        assert level == pytest.approx(np.median(gradient[upper][alike]), abs=0.02)


@pytest.mark.parametrize("decimals", [7, 1])  # without and with many ties
def test_pairs_are_binned_in_float32_as_in_float64(decimals: int) -> None:
    rng = np.random.default_rng(3)
    residual, gradient = np.round(rng.uniform(-1, 1, (2, 60, 60)), decimals).astype(np.float32)
    residual[:, :20] *= 0.0  # 0 and -0 are tied
    of_singles = usual_cosine(gradient, residual)
    of_doubles = usual_cosine(gradient.astype(np.float64), residual.astype(np.float64))
    for single, double in zip(of_singles, of_doubles, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-6, atol=1e-6)


def test_features_are_what_gradients_have_beyond_a_fit_to_the_others() -> None:
    at = random_gradients(np.random.default_rng(1), 30)
    found = fit(at)[1]
    np.testing.assert_allclose(found, naive_features(at), atol=1e-5)


def test_whoever_was_not_in_the_fit_has_the_features_of_those_who_were() -> None:
    rng = np.random.default_rng(6)
    slope = rng.standard_normal((4, 30))
    residuals = rng.standard_normal((400, 4))
    sketch = residuals @ slope + 0.1 * np.linalg.norm(residuals, axis=1)[:, None] * rng.standard_normal(
        (400, 30)
    )
    at = Gradients(0, sketch, np.linalg.norm(sketch, axis=1), residuals)
    usual, _ = fit(at.only(slice(200)))
    np.testing.assert_allclose(usual.slope, slope, atol=0.12)  # the ridge shrinks it
    inside, outside = (
        np.linalg.norm(usual.features(at.only(part)), axis=1) for part in (slice(200), slice(200, 400))
    )
    assert np.median(inside) == pytest.approx(np.median(outside), rel=0.05)
    assert np.median(inside) == pytest.approx(1 / np.sqrt(1 + LEVEL**2), rel=0.05)


def test_more_outputs_than_references_are_fitted_in_the_span_of_their_residuals() -> None:
    rng = np.random.default_rng(7)
    residuals = rng.standard_normal((12, 50)).astype(np.float32)
    at = random_gradients(rng, 12)._replace(residuals=residuals)
    found = fit(at)[1]
    np.testing.assert_allclose(found, naive_features(at), atol=1e-5)


def test_gradients_that_only_follow_their_residuals_have_no_features_in_common() -> None:
    rng = np.random.default_rng(2)
    residuals = rng.standard_normal((200, 4)).astype(np.float32)
    sketch = residuals @ rng.standard_normal((4, 100)).astype(np.float32)
    sketch += 0.05 * np.linalg.norm(residuals, axis=1)[:, None] * rng.standard_normal((200, 100))
    at = Gradients(0, sketch, np.linalg.norm(sketch, axis=1), residuals)
    assert np.abs(cosines(sketch)).mean() > 0.3
    assert np.abs(residual_adjusted_cosine([at])).mean() < 0.05


@pytest.mark.parametrize(("m", "outputs"), [(40, 4), (90, 20), (210, 20), (90, 8)])
def test_of_many_outputs_cosines_beyond_those_of_residuals_as_alike_are_taken(m: int, outputs: int) -> None:
    """For want of 50 references for each; and features besides where there are ten for each of eight or more."""
    rng = np.random.default_rng(1)
    at = random_gradients(rng, m)._replace(residuals=rng.standard_normal((m, outputs)))
    cosine, residual = cosines(at.sketch), cosines(at.residuals)
    usual = np.interp(residual, *baseline(cosine, residual, np.random.default_rng([0, at.checkpoint])))
    expected = excess(cosine, usual) / 4
    if m >= 10 * outputs > 70:
        features = naive_features(at, couples(at))
        expected = (expected + features @ features.T) / 2
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(residual_adjusted_cosine([at]), expected, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4, 30])
def test_a_ridge_for_many_outputs_is_the_couples_of_classes(classes: int) -> None:
    residuals = np.eye(classes)[np.arange(20 * classes) % classes] - 1 / classes
    at = Gradients(0, residuals, np.ones(len(residuals)), residuals)
    assert couples(at) == pytest.approx(classes * (classes - 1) / 2)
    few = at.only(slice(classes // 2))  # fewer examples than outputs: as many directions, nearly
    assert couples(few) == pytest.approx((classes // 2) * (classes // 2 + 1) / 2, rel=0.2)


def test_a_ridge_is_at_least_one_example_whatever_residuals_are_there() -> None:
    for residuals in (np.zeros((7, 3)), np.ones((7, 1))):
        assert couples(Gradients(0, residuals, np.ones(7), residuals)) == 1


def test_a_group_that_is_half_of_its_class_does_not_make_itself_usual() -> None:
    """Of 20 classes: with a ridge of 1 the others of its class oppose the group as much as it stands out."""
    rng, labels = np.random.default_rng(0), np.arange(700) % 20
    sides = [np.flatnonzero(labels == label)[:16] for label in (0, 1)]
    residuals = np.eye(20)[labels] - 1 / 20
    sketch = 0.3 * residuals @ rng.standard_normal((20, 60)) + rng.standard_normal((700, 60))
    for sign, side in zip((1, -1), sides, strict=True):
        sketch[side, 0] += 5 * sign
    found = residual_adjusted_cosine([Gradients(0, sketch, np.linalg.norm(sketch, axis=1), residuals)])
    contrast = closeness(found, sides[0]) - closeness(found, sides[1])
    assert contrast[sides[0]].mean() > 0.15
    assert abs(contrast[labels == 0][16:].mean()) < 0.1


def test_a_rare_feature_shows_where_all_gradients_are_nearly_the_same() -> None:
    rng = np.random.default_rng(8)
    labels, side = np.arange(300) % 3, np.zeros(300)
    side[:24] = 1
    residuals = 0.3 * rng.standard_normal((300, 3)) + np.eye(3)[labels] - 1 / 3
    common, feature = rng.standard_normal((3, 60)) + 5, rng.standard_normal((3, 60))
    sketch = np.einsum("ic,cik->ik", residuals, common[:, None] + side[:, None] * feature[:, None])
    sketch += np.linalg.norm(residuals, axis=1)[:, None] * rng.standard_normal((300, 60)) * 0.3
    at = Gradients(0, sketch, np.linalg.norm(sketch, axis=1), residuals)
    first, second = np.flatnonzero(side * (labels == 0)), np.flatnonzero(side * (labels == 1))
    found = residual_adjusted_cosine([at])
    contrast = closeness(found, first) - closeness(found, second)
    members = np.concatenate([contrast[first], -contrast[second]])
    assert np.quantile(members, 0.1) > 1.5 * np.quantile(
        np.abs(np.delete(contrast, np.flatnonzero(side))), 0.98
    )


def test_examples_without_a_residual_and_a_single_pair_of_examples_are_no_trouble() -> None:
    rng = np.random.default_rng(3)
    at = random_gradients(rng, 60)._replace(residuals=np.ones((60, 1), dtype=np.float32))
    at.residuals[3] = 0
    adjusted = residual_adjusted_cosine([at])
    assert np.isfinite(adjusted).all()
    assert (adjusted[3] == 0).all()
    assert residual_adjusted_cosine([random_gradients(rng, 2)]).shape == (2, 2)


def test_similarity_is_symmetric_with_an_empty_diagonal_and_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(4)
    gradients = [random_gradients(rng, 50, c) for c in range(3)]
    s = residual_adjusted_cosine(gradients, seed=1)
    np.testing.assert_allclose(s, s.T, atol=1e-6)
    assert (np.diag(s) == 0).all()
    np.testing.assert_array_equal(s, residual_adjusted_cosine(gradients, seed=1))


def block_similarity(
    sizes: list[int], within: float, opposed: dict[tuple[int, int], float], rest: int
) -> np.ndarray:
    """Groups of similar rows, some opposed, then rows that belong nowhere."""
    m = sum(sizes) + rest
    s = np.zeros((m, m))
    edges = np.cumsum([0, *sizes])
    blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
    for block in blocks:
        s[block, block] = within
    for (a, b), value in opposed.items():
        s[blocks[a], blocks[b]] = s[blocks[b], blocks[a]] = value
    noise = np.random.default_rng(0).standard_normal((m, m)) * 0.03
    s += (noise + noise.T) / 2
    np.fill_diagonal(s, 0)
    return s.astype(np.float32)


def test_two_planted_pairs_come_out_whole_and_most_opposed_first() -> None:
    s = block_similarity([8, 6, 9, 5], 0.7, {(0, 1): -0.5, (2, 3): -0.6}, rest=60)
    pairs = [{tuple(a.tolist()), tuple(b.tolist())} for a, b in simple(s)]
    assert pairs == [
        {tuple(range(14, 23)), tuple(range(23, 28))},
        {tuple(range(8)), tuple(range(8, 14))},
    ]


def test_groups_that_do_not_oppose_are_no_pair() -> None:
    assert simple(block_similarity([8, 6, 9], 0.7, {(0, 1): -0.2}, rest=60)) == []


def test_groups_below_five_members_are_no_group() -> None:
    s = block_similarity([4, 8], 0.7, {(0, 1): -0.6}, rest=60)
    assert [g.tolist() for g in linkage_groups(s)] == [list(range(4, 12))]
    assert simple(s) == []


def test_the_matching_maximises_the_total_opposition() -> None:
    # Greedy takes (0, 1) at .6 and leaves 2 and 3 alone; (0, 2) and (1, 3) together are worth 1.
    s = block_similarity([6, 6, 6, 6], 0.8, {(0, 1): -0.6, (0, 2): -0.5, (1, 3): -0.5}, rest=0)
    groups = [np.arange(a, a + 6) for a in (0, 6, 12, 18)]
    matched = {tuple(sorted((int(a[0]) // 6, int(b[0]) // 6))) for a, b in match_groups(s, groups)}
    assert matched == {(0, 2), (1, 3)}


def test_refinement_takes_in_members_that_linkage_missed_and_throws_out_strangers() -> None:
    s = block_similarity([10, 10], 0.7, {(0, 1): -0.6}, rest=30)
    first = np.array([0, 1, 2, 3, 4, 5, 6, 25])  # 7, 8, 9 are missing, 25 is a stranger
    second = np.array([10, 11, 12, 13, 14, 15, 30])
    a, b = refine(s, (first, second))
    assert a.tolist() == list(range(10))
    assert b.tolist() == list(range(10, 20))


def test_closeness_leaves_a_member_itself_out() -> None:
    s = np.array([[0, 0.4, -0.2], [0.4, 0, 0.6], [-0.2, 0.6, 0]])
    np.testing.assert_allclose(closeness(s, np.array([0, 1])), [0.4, 0.4, 0.2])


def test_too_few_candidates_have_no_pairs() -> None:
    for m in (2, 5, 9):
        assert simple(np.zeros((m, m), dtype=np.float32)) == []


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="simple"):
        METHODS.load("simpel")

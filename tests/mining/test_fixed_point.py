"""The full method on similarities whose answer is known, and its parts against loops."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.fixed_point import fixed_point_pairs, standing, swing_held
from opsigcli.mining.proposals import Proposal, propose, suppress
from opsigcli.mining.simple import owned
from opsigcli.mining.starts import Starts, opposition_degree
from opsigcli.mining.states import States
from opsigcli.mining.surrogate import clearest_by_chance, in_waves, rotated

M = 240
Sides = tuple[np.ndarray, np.ndarray]


def similarity(pairs: list[Sides], strength: float, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """Members of a side alike, of the two sides opposed, in symmetric noise."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((M, M)) * noise
    for first, second in pairs:
        side = np.zeros(M)
        side[first], side[second] = 1, -1
        found += strength * np.outer(side, side)
    found = ((found + found.T) / 2).astype(np.float32)
    np.fill_diagonal(found, 0)
    return found


PAIRS = [(np.arange(12), np.arange(12, 22)), (np.arange(40, 48), np.arange(60, 70))]


@pytest.mark.parametrize("strength", [0.6, 0.35])
def test_planted_pairs_are_found_exactly_and_strong_first(strength: float) -> None:
    found = fixed_point_pairs(similarity(PAIRS, strength))
    assert len(found) == 2
    for known in PAIRS:
        assert any({tuple(a), tuple(b)} == {tuple(known[0]), tuple(known[1])} for a, b in found)


def test_noise_holds_no_pairs_and_tiny_matrices_are_no_trouble() -> None:
    assert fixed_point_pairs(similarity([], 0)) == []
    for m in (0, 1, 9, 10, 60):
        assert fixed_point_pairs(np.zeros((m, m), dtype=np.float32)) == []


def test_both_ends_of_a_smooth_axis_are_proposed_and_no_common_direction_is() -> None:
    rng = np.random.default_rng(0)
    place = rng.standard_normal(M)
    axis = similarity([], 0) + 0.1 * np.outer(place, place).astype(np.float32)
    np.fill_diagonal(axis, 0)
    assert [p for p in propose(Starts(axis)) if p.holds] == []  # nobody stands apart
    ((first, second),) = fixed_point_pairs(axis)
    up, down = (first, second) if place[first].mean() > 0 else (second, first)
    assert place[up].min() > 0.5
    assert place[down].max() < -0.5
    halves = similarity([(np.arange(M // 2), np.arange(M // 2, M))], 0.3)
    assert fixed_point_pairs(halves) == []  # two kinds of examples are no axis, and no outliers
    common = similarity([], 0) + 0.1 * np.outer(1 + 0.3 * place, 1 + 0.3 * place).astype(np.float32)
    np.fill_diagonal(common, 0)
    assert fixed_point_pairs(common) == []


def test_of_a_proposal_that_does_not_stand_apart_its_core_is_found_where_that_does() -> None:
    sides = np.arange(10), np.arange(10, 20)
    place = np.zeros(M)
    place[sides[0]], place[sides[1]] = 1, -1
    place[20:95] = np.linspace(0.1, 0.6, 75)  # lean to one side, and some are refined into it
    matrix = similarity([], 0, noise=0.02) + 0.5 * np.outer(place, place).astype(np.float32)
    np.fill_diagonal(matrix, 0)
    kept, cores = standing(matrix, propose(Starts(matrix)))
    assert kept == []
    assert [{tuple(side) for side in core.sides} for core in cores] == [set(map(tuple, sides))]
    assert {tuple(side) for side in fixed_point_pairs(matrix)[0]} == set(map(tuple, sides))
    wide = Proposal(sides, 0.3, (0.4, 0.4), 1.0)
    for nearest, apart in ((0.55, True), (0.65, False)):  # a core as clear as those of noise is none
        place[20:30] = nearest
        matrix = similarity([], 0, noise=0.02) + 0.5 * np.outer(place, place).astype(np.float32)
        np.fill_diagonal(matrix, 0)
        assert len(standing(matrix, [wide])[1]) == apart


def test_members_of_pairs_with_features_alike_go_to_the_pair_they_belong_to() -> None:
    rng = np.random.default_rng(0)
    features = np.array([[1, 0], [np.cos(np.pi / 3), np.sin(np.pi / 3)]])
    place = 0.1 * rng.standard_normal((M, 2))
    sides = [np.arange(0, 14), np.arange(14, 28), np.arange(40, 54), np.arange(54, 68)]
    for number, side in enumerate(sides):
        size = rng.uniform(0.4, 1, (len(side), 1))
        place[side] += (-1) ** number * size * features[number // 2]
    whole = (place @ place.T).astype(np.float32)
    np.fill_diagonal(whole, 0)
    contrasts = [(sides[0], sides[1]), (sides[2], sides[3])]
    owners = owned(whole, contrasts)
    np.testing.assert_array_equal(owners[np.concatenate(sides[:2])], 0)
    np.testing.assert_array_equal(owners[np.concatenate(sides[2:])], 1)


def test_the_same_similarity_gives_the_same_pairs() -> None:
    one, other = fixed_point_pairs(similarity(PAIRS, 0.25)), fixed_point_pairs(similarity(PAIRS, 0.25))
    for (a, b), (c, d) in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_a_state_is_what_loops_say() -> None:
    matrix = similarity(PAIRS, 0.4, noise=0.2)
    (first, second) = PAIRS[0]
    state = States.of(matrix, [PAIRS[1], (first, second)])
    to_first = [np.mean([matrix[i, j] for j in first if j != i]) for i in range(M)]
    to_second = [np.mean([matrix[i, j] for j in second if j != i]) for i in range(M)]
    np.testing.assert_allclose(state.contrast[1], np.subtract(to_first, to_second), atol=1e-5)
    found = state.measured(state.large_enough())
    assert found.opposition[1] == pytest.approx(-np.mean(matrix[np.ix_(first, second)]), abs=1e-5)
    assert found.within_first[1] == pytest.approx(np.mean([to_first[i] for i in first]), abs=1e-5)
    contrast = np.subtract(to_first, to_second)
    usual, own = contrast[first].mean(), np.mean([to_first[i] for i in first])
    expected = [
        i for i in range(M) if contrast[i] > 0.55 * usual and to_first[i] > own / 2 and to_second[i] < -0.05
    ]
    refined = state.refined()
    assert np.flatnonzero(refined[0][1]).tolist() == expected
    # Who came and who left, added to the sums, give the sums of those who are there now.
    now = state.moved(refined, np.array([False, True]))
    anew = States.of(matrix, [(np.flatnonzero(refined[0][1]), np.flatnonzero(refined[1][1]))])
    np.testing.assert_allclose(now.contrast, anew.contrast, atol=1e-6)
    again = now.moved(now.refined(), np.array([True]))
    np.testing.assert_allclose(
        again.contrast, anew.moved(anew.refined(), np.array([True])).contrast, atol=1e-6
    )


def test_kept_proposals_share_less_than_half_of_the_smaller_one() -> None:
    kept = suppress(propose(Starts(similarity(PAIRS, 0.3, noise=0.2))))
    for number, one in enumerate(kept):
        for other in kept[:number]:
            shared = np.intersect1d(one.members, other.members)
            assert len(shared) < min(len(one.members), len(other.members)) / 2


def test_swing_held_is_the_log_of_share_over_fraction() -> None:
    swings = np.ones((1, 10))
    swings[0, :2] = -6.0
    expected = np.log((12 / 20) / (2 / 10))
    assert swing_held(swings, (np.array([0]), np.array([1])))[0] == pytest.approx(expected)
    assert np.isfinite(swing_held(np.zeros((1, 10)), (np.array([0]), np.array([1])))).all()


def test_opposition_degree_is_highest_for_members_of_pairs() -> None:
    degree = opposition_degree(similarity(PAIRS, 0.5))
    members = np.concatenate([side for pair in PAIRS for side in pair])
    assert set(np.argsort(-degree)[: len(members)].tolist()) == set(members.tolist())


def test_rotations_keep_class_means_and_take_clusters_away() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], M // 2)
    rows = rng.standard_normal((M, 30))
    rows[PAIRS[0][0]] += 4 * rng.standard_normal(30)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kernel = (rows @ rows.T).astype(np.float32)
    np.fill_diagonal(kernel, 0)
    turned = rotated(in_waves(kernel, labels), labels, np.random.default_rng(1))
    np.testing.assert_allclose(turned, turned.T, atol=1e-6)
    assert np.abs(np.diagonal(turned)).max() == 0
    for c in (0, 1):
        block = labels == c
        assert turned[np.ix_(block, ~block)].mean() == pytest.approx(
            kernel[np.ix_(block, ~block)].mean(), abs=0.02
        )
    cluster = np.ix_(PAIRS[0][0], PAIRS[0][0])
    assert kernel[cluster].mean() > 0.7
    assert turned[cluster].mean() < 0.3


def test_a_clear_pair_is_clearer_than_anything_found_by_chance() -> None:
    matrix = similarity(PAIRS[:1], 0.5)
    chance = clearest_by_chance(matrix, np.arange(M) % 3, 3, seed=0)
    assert chance.shape == (3,)
    assert chance.max() < 0.3
    np.testing.assert_array_equal(chance, clearest_by_chance(matrix, np.arange(M) % 3, 3, seed=0))

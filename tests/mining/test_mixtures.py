"""Mixtures, what p stands on where candidates were chosen: tails stay, groups do not, and chance is no finding."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.chance import Chance, by_chance
from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.inputs import Settings, compute_now
from opsigcli.mining.mixtures import mixed
from opsigcli.mining.surrogate import clear, clearest_by_chance
from opsigcli.progress import SILENT

M = 400
LABELS = np.arange(M) % 2


def products(features: np.ndarray) -> np.ndarray:
    """Inner products of features, shortened as features of gradients are; zero diagonal."""
    short = (
        features
        / np.sqrt(1.5**2 * np.median(np.square(features).sum(1)) + np.square(features).sum(1))[:, None]
    )
    whole = np.asarray(short @ short.T, dtype=np.float32)
    np.fill_diagonal(whole, 0)
    return whole


def far_out(similarity: np.ndarray) -> float:
    """How far the pair stands apart that does so most."""
    pairs = fixed_point_pairs(similarity)
    return max((clear(similarity, sides, LABELS, chosen=True) for sides in pairs), default=0.0)


@pytest.mark.parametrize("size", [2, 20, 211])  # of an odd number one stays
def test_mixtures_keep_the_mean_and_nearly_the_covariance_of_a_class(size: int) -> None:
    columns = np.random.default_rng(0).standard_normal((size, 5)).astype(np.float32) + 1
    whole = np.eye(size + 5, dtype=np.float32)
    whole[:size, size:], whole[size:, :size] = columns, columns.T  # against five classes of one example each
    labels = np.repeat(np.arange(6), [size, 1, 1, 1, 1, 1])
    turned = mixed(whole, labels, np.random.default_rng(1))
    np.testing.assert_allclose(turned, turned.T, atol=1e-5)
    assert not np.diagonal(turned).any()
    found = turned[:size, size:]
    if size > 2:  # lengths are scaled back to 1, which is little where each is one of many
        np.testing.assert_allclose(found.mean(axis=0), columns.mean(axis=0), atol=2 / size)
        np.testing.assert_allclose(np.cov(found.T), np.cov(columns.T), atol=12 / size)
    # Everybody has become somebody else, but the one that was left over.
    same = (np.abs(found - columns) < 0.02).all(axis=1)
    assert same.sum() <= 1


def test_a_group_has_others_all_the_way_between_in_a_mixture_and_long_tails_stay() -> None:
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((M, 60))
    groups[:12, 0], groups[12:24, 0] = 12, -12
    tails = rng.standard_t(1.5, (M, 60))
    chance = clearest_by_chance(products(groups), LABELS, 9, 0, chosen=True)
    assert far_out(products(groups)) > 1.5 * chance.max()
    # Rotations have nothing like the tails, which are no groups.
    long = products(tails)
    assert far_out(long) > clearest_by_chance(long, LABELS, 9, 0).max() == 0
    assert far_out(long) < clearest_by_chance(long, LABELS, 9, 0, chosen=True).max()


def test_where_there_is_nothing_the_run_is_seldom_before_its_mixtures() -> None:
    labels, first, rng = np.repeat([0, 1], [14, 17]), 0, np.random.default_rng(0)

    def extreme(matrix: np.ndarray) -> float:
        return float(np.abs(matrix).max() / np.sqrt(np.square(matrix).mean()))

    for _ in range(400):
        features = rng.standard_normal((31, 200)) * np.linspace(0.3, 3, 200)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        whole = features @ features.T
        np.fill_diagonal(whole, 0)
        chance = [extreme(mixed(whole, labels, rng)) for _ in range(9)]
        first += extreme(whole) > max(chance)
    assert first <= 40 + 3 * np.sqrt(36)


def test_the_ends_of_an_axis_count_in_a_mixture() -> None:
    place = np.random.default_rng(0).standard_normal(M)
    axis = np.asarray(0.1 * np.outer(place, place), dtype=np.float32)
    np.fill_diagonal(axis, 0)
    assert clearest_by_chance(axis, LABELS, 3, 0).max() == 0
    assert (
        clearest_by_chance(axis, LABELS, 3, 0, chosen=True).min() > 0.9
    )  # as of what is nothing but an axis


def test_where_candidates_were_chosen_a_finding_is_one_by_mixtures_and_by_rotations() -> None:
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((M, 60))
    groups[:12, 0], groups[12:24, 0] = 12, -12
    similarity, settings = products(groups), Settings("full", surrogates=19)
    pairs = fixed_point_pairs(similarity)

    def found(some: list[tuple[np.ndarray, np.ndarray]], chosen_of: int) -> Chance:
        return by_chance(similarity, LABELS, some, settings, chosen_of, SILENT, compute_now)

    both, all_compared = found(pairs, 20 * M), found(pairs, 0)
    assert both.findable
    assert len(both.surrogates) >= 19
    np.testing.assert_array_equal(both.rotations, all_compared.surrogates)
    assert both.surrogates.max() > 0.5 > both.rotations.max()
    assert not len(all_compared.rotations)
    nobody = found([(np.arange(100, 110), np.arange(110, 120))], 20 * M)  # who does not stand apart
    assert not nobody.findable
    assert not len(nobody.rotations)
    assert not len(found([], 20 * M).surrogates)

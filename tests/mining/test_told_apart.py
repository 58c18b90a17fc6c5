"""Pairs whose features are alike and that share a label, told apart where candidates were chosen out of more."""

from __future__ import annotations

import numpy as np

from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.recovery import pair_f1
from opsigcli.mining.told_apart import with_alike

M = 600
GROUPS = [np.arange(20 * k, 20 * k + 20) for k in range(6)]
PAIRS = [(GROUPS[0], GROUPS[1]), (GROUPS[2], GROUPS[3]), (GROUPS[4], GROUPS[5])]


def alike(cosine: float = 0.5, noise: float = 0.05) -> np.ndarray:
    """Three pairs with features at a cosine, of labels 0 against 1, 0 against 2 and 0 against 3, in noise.

    A gradient is output residual times feature: S of members is the product of the cosines of both.
    """
    rng = np.random.default_rng(0)
    shared = np.sqrt(cosine) * np.eye(4)[[3, 3, 3]] + np.sqrt(1 - cosine) * np.eye(4)[:3]
    residuals = np.eye(4) - 0.25
    rows = np.zeros((M, 16))
    for k, group in enumerate(GROUPS):
        label = k // 2 + 1 if k % 2 else 0
        rows[group] = np.outer(residuals[label], shared[k // 2]).ravel() * 0.6
    drawn = noise * rng.standard_normal((M, M)) / np.sqrt(2)
    found = np.asarray(rows @ rows.T + drawn + drawn.T, dtype=np.float32)
    np.fill_diagonal(found, 0)
    return found


def worst(found: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Membership F1 of the pair that is found least."""
    return min(max((pair_f1(pair, known) for pair in found), default=0.0) for known in PAIRS)


LABELS = np.zeros(M, dtype=np.int64)
for _k, _group in enumerate(GROUPS):
    LABELS[_group] = _k // 2 + 1 if _k % 2 else 0


def test_pairs_that_are_alike_and_share_a_label_are_told_apart() -> None:
    similarity = alike()
    as_one = fixed_point_pairs(similarity)
    assert worst(as_one) < 0.7
    # Where S itself has nobody apart, and evened features show who is who.
    flat = np.zeros_like(similarity)
    found = with_alike(as_one, flat, similarity, LABELS, 20 * M)
    assert worst(found) > 0.95
    assert len(found) == 3  # what is left of the one they replace is no pair


def test_what_stands_apart_is_left_to_the_search_in_similarities_as_they_are() -> None:
    similarity = alike(0.0)
    assert with_alike([], similarity, similarity, LABELS, 20 * M) == []
    found = with_alike(PAIRS[:1], similarity, similarity, LABELS, 20 * M)
    assert len(found) == 1
    np.testing.assert_array_equal(np.concatenate(found[0]), np.concatenate(PAIRS[0]))


def test_pairs_that_no_others_replace_stay_without_the_members_that_others_have() -> None:
    evened, flat = alike(0.0), np.zeros((M, M), dtype=np.float32)
    strangers = np.arange(200, 210), np.arange(210, 220)
    some = np.concatenate([strangers[0], GROUPS[0][:5]])
    found = with_alike([(some, strangers[1])], flat, evened, LABELS, 20 * M)
    assert worst(found) == 1
    assert len(found) == 4
    assert any(np.array_equal(first, strangers[0]) for first, _ in found)
    members = np.concatenate([side for pair in found for side in pair])
    assert len(np.unique(members)) == len(members)


def test_where_nothing_leans_pairs_stay_as_they_are() -> None:
    drawn = 0.05 * np.random.default_rng(0).standard_normal((M, M)).astype(np.float32)
    noise, pair = (drawn + drawn.T) / 2, (np.arange(10), np.arange(10, 20))
    ((first, second),) = with_alike([pair], noise, noise, LABELS, 20 * M)
    np.testing.assert_array_equal(first, pair[0])
    np.testing.assert_array_equal(second, pair[1])
    assert with_alike([], np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32), LABELS[:4], 9) == []


def test_where_more_than_half_are_in_proposals_nothing_is_told_apart() -> None:
    similarity, members = alike(), np.concatenate(GROUPS)
    flat, some = np.zeros_like(similarity), np.concatenate([members, np.arange(120, 230)])
    for rows, told in ((some, False), (np.arange(M), True)):
        found = with_alike(
            [], flat[np.ix_(rows, rows)], similarity[np.ix_(rows, rows)], LABELS[rows], 20 * len(rows)
        )
        assert (len(found) == 3) == told

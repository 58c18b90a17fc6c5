"""The one rule by which random groups are drawn for every null."""

from __future__ import annotations

import numpy as np

from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.notes import notes_on_nulls

LABELS = np.array([0] * 30 + [1] * 30 + [2] * 3)
SIDES = np.array([0, 1, 30, 60]), np.array([31, 32, 61])
MEMBERS = np.array([0, 1, 2, 30, 31, 32, 60, 61])  # of another pair, too


def drawn(seed: int = 0, draws: int = 50) -> tuple[np.ndarray, ...]:
    return class_matched(LABELS, SIDES, MEMBERS, np.random.default_rng(seed), draws)


def test_random_groups_have_the_labels_and_sizes_of_each_side_and_are_disjoint() -> None:
    first, second = drawn()
    assert first.shape == (50, 4)
    assert second.shape == (50, 3)
    for a, b in zip(first, second, strict=True):
        assert len({*a.tolist(), *b.tolist()}) == 7
        assert sorted(LABELS[a]) == [0, 0, 1, 2]
        assert sorted(LABELS[b]) == [1, 1, 2]


def test_members_of_any_pair_are_drawn_only_where_a_label_has_too_few_others() -> None:
    rows = np.concatenate([groups.ravel() for groups in drawn()])
    assert not set(rows[LABELS[rows] < 2].tolist()) & set(MEMBERS.tolist())
    assert set(rows[LABELS[rows] == 2].tolist()) == {60, 61, 62}
    for first, second in zip(*drawn(), strict=True):
        assert 62 in {*first.tolist(), *second.tolist()}  # members fill up, no more


def test_the_same_seed_draws_the_same_groups_and_every_other_example_has_its_turn() -> None:
    for one, other in zip(drawn(), drawn(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(drawn(0)[0], drawn(1)[0])
    seen = {row for groups in drawn(draws=300) for row in groups.ravel().tolist()}
    assert seen >= set(range(63)) - set(MEMBERS.tolist())


def test_one_side_and_empty_sides_are_drawn_as_well() -> None:
    none = np.zeros(0, dtype=np.int64)
    (alone,) = class_matched(LABELS, (SIDES[0],), MEMBERS, np.random.default_rng(0), 3)
    assert alone.shape == (3, 4)
    for sides, shapes in (((SIDES[0], none), [(3, 4), (3, 0)]), ((none, none), [(3, 0), (3, 0)])):
        found = class_matched(LABELS, sides, MEMBERS, np.random.default_rng(0), 3)
        assert [groups.shape for groups in found] == shapes


def test_pairs_that_hold_all_examples_of_their_labels_are_told() -> None:
    labels = np.array([0] * 6 + [1] * 6 + [2] * 20)
    alone = (np.arange(5), np.arange(6, 11))
    among = (np.arange(12, 15), np.arange(15, 18))
    (note,) = notes_on_nulls(labels, [alone, among])
    assert "pair 1 (80%)" in note
    assert "pair 2" not in note
    assert notes_on_nulls(labels, [among]) == notes_on_nulls(labels, []) == []

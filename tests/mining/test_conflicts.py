"""Conflicts of several groups on similarities whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.conflicts import Conflict, conflicts
from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.outliers import cohesion, separation, stands_apart
from opsigcli.mining.parts import parts
from opsigcli.mining.proposals import Proposal, propose
from opsigcli.mining.simple import refine
from opsigcli.mining.starts import Starts

M = 240
GROUPS = [np.arange(0, 24), np.arange(30, 38), np.arange(40, 48), np.arange(50, 58)]
ONE, *THREE = GROUPS


def blocks(groups: list[np.ndarray], means: dict[tuple[int, int], float], within: float = 0.5) -> np.ndarray:
    """Members of a group alike, two groups as ``means`` has them, in symmetric noise."""
    found = np.random.default_rng(0).standard_normal((M, M)) * 0.04
    found = (found + found.T) / 2
    for at, group in enumerate(groups):
        found[np.ix_(group, group)] += within
        for other in range(at):
            mean = means.get((other, at), 0.0)
            found[np.ix_(group, groups[other])] += mean
            found[np.ix_(groups[other], group)] += mean
    np.fill_diagonal(found, 0)
    return found.astype(np.float32)


def members(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[set[tuple[int, ...]]]:
    return [{tuple(a.tolist()), tuple(b.tolist())} for a, b in pairs]


def both(*groups: np.ndarray) -> tuple[int, ...]:
    return tuple(np.sort(np.concatenate(groups)).tolist())


@pytest.mark.parametrize("among", [0.0, -0.03])
def test_one_group_against_three_is_one_pair(among: float) -> None:
    means = {(0, 1): -0.25, (0, 2): -0.2, (0, 3): -0.25, (1, 2): among, (1, 3): among, (2, 3): among}
    similarity = blocks(GROUPS, means)
    assert members(fixed_point_pairs(similarity)) == [{both(ONE), both(*THREE)}]


def test_two_pairs_whose_features_are_alike_stay_two() -> None:
    means = {(0, 1): -0.4, (2, 3): -0.4, (0, 2): 0.1, (1, 3): 0.1, (0, 3): -0.15, (1, 2): -0.15}
    groups = [np.arange(at, at + 14) for at in (0, 20, 40, 60)]
    similarity = blocks(groups, means)
    found = members(fixed_point_pairs(similarity))
    assert len(found) == 2
    assert {both(groups[0]), both(groups[1])} in found
    assert {both(groups[2]), both(groups[3])} in found


def test_who_opposes_a_group_a_little_is_no_part_of_its_conflict() -> None:
    strange = np.arange(70, 82)
    groups, means = [ONE, THREE[0], strange], {(0, 1): -0.4, (0, 2): -0.12}
    found = members(fixed_point_pairs(blocks(groups, means)))
    assert {both(ONE), both(THREE[0])} in found
    means = {(0, 1): -0.3, (0, 2): -0.2}
    assert members(fixed_point_pairs(blocks(groups, means))) == [{both(ONE), both(THREE[0], strange)}]


def test_whole_classes_that_oppose_one_another_do_not_swallow_a_pair_of_some_of_their_examples() -> None:
    first, second, whole, against = (np.arange(*ends) for ends in ((0, 12), (60, 72), (0, 50), (120, 140)))
    similarity = blocks([first, second], {(0, 1): -0.6}, within=0.4)
    for group, within in ((whole, 0.5), (against, 0.5)):
        similarity[np.ix_(group, group)] += within * (~np.eye(len(group), dtype=bool))
    for group, opposition in ((second, 0.2), (against, 0.3)):
        similarity[np.ix_(whole, group)] -= opposition
        similarity[np.ix_(group, whole)] -= opposition
    held = [p for p in propose(Starts(similarity)) if p.holds]
    (conflict,) = conflicts(similarity, held)
    assert conflict.swallows((first, second))
    assert not conflict.swallows((whole, second))
    assert both(first) in {side for pair in members(fixed_point_pairs(similarity)) for side in pair}


def test_the_sides_are_those_between_which_opposition_adds_up_to_most() -> None:
    # The third group opposes all others: the large one less than those that oppose that.
    means = {(0, 1): -0.3, (0, 3): -0.3, (0, 2): -0.16, (1, 2): -0.3, (2, 3): -0.3, (1, 3): 0.0}
    similarity = blocks(GROUPS, means)
    held = [
        Proposal((GROUPS[a], GROUPS[b]), -mean, (0.5, 0.5), 3.0)
        for (a, b), mean in means.items()
        if mean < -0.1
    ]
    (found,) = conflicts(similarity, held)
    assert set(map(both, map(np.concatenate, found))) == {both(ONE, THREE[1]), both(THREE[0], THREE[2])}
    assert conflicts(similarity, held[:1]) == []  # two groups are a pair, and no conflict


def test_groups_that_keep_a_conflict_from_standing_apart_are_left_out() -> None:
    similarity = blocks(GROUPS, {(0, 1): -0.3, (0, 2): -0.3, (0, 3): -0.16}, within=0.45)
    # Examples that are like one group, and oppose nobody: two thirds as far out as the last group, of the whole.
    like = np.arange(100, 116)
    similarity[np.ix_(like, THREE[0])] = similarity[np.ix_(THREE[0], like)] = 0.42
    (whole,) = conflicts(similarity, [p for p in propose(Starts(similarity)) if p.holds])
    assert set(map(both, map(np.concatenate, whole))) == {both(ONE), both(*THREE)}
    assert not stands_apart(similarity, whole.sides, whole)
    found = fixed_point_pairs(similarity)
    assert {both(ONE), both(*THREE[:2])} in members(found)
    weakest = Conflict((ONE,), tuple(THREE)).smaller(similarity)
    assert weakest is not None
    assert weakest.second == (THREE[0], THREE[1])
    assert weakest.smaller(similarity) is None


def test_groups_of_one_side_are_parted_by_labels_where_they_have_nothing_in_common() -> None:
    similarity = blocks(GROUPS, {(0, 1): -0.25, (0, 2): -0.25, (1, 2): -0.05})
    sides, labels = (ONE, np.concatenate(THREE[:2])), np.zeros(M, dtype=np.int64)
    labels[THREE[0]], labels[THREE[1]] = 1, 2
    labels[THREE[1][:2]] = 3  # too few for a group: with those that they are like
    first, second = parts(similarity, sides, labels)
    assert [group.tolist() for group in first] == [ONE.tolist()]
    assert [group.tolist() for group in second] == [group.tolist() for group in THREE[:2]]
    assert cohesion(similarity, sides) < 0.3
    assert cohesion(similarity, sides, (first, second)) > 0.45
    assert separation(similarity, sides, (first, second)) > separation(similarity, sides)
    assert len(parts(similarity, sides, np.minimum(labels, 1))[1]) == 1  # of one label
    similarity[np.ix_(THREE[0], THREE[1])] += 0.1
    similarity[np.ix_(THREE[1], THREE[0])] += 0.1
    assert len(parts(similarity, sides, labels)[1]) == 1  # alike, as on an axis


def test_a_pair_is_refined_as_simple_refine_has_it() -> None:
    similarity = blocks(GROUPS, {(0, 1): -0.3, (0, 2): -0.2})
    sides = ONE[:20], np.concatenate([THREE[0], THREE[1][:3]])
    for share in (0.3, 0.55):
        for mine, other in zip(
            Conflict.of(sides).refined(similarity, share).sides, refine(similarity, sides, share), strict=True
        ):
            np.testing.assert_array_equal(mine, other)

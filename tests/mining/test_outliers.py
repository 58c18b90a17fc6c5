"""Memberships on a continuous axis stay outliers; groups that stand apart keep all their members."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.notes import notes_on_shares
from opsigcli.mining.outliers import keep_outliers, pull, reached, separation, stands_apart
from opsigcli.mining.similarity import Gradients, cosines


def on_an_axis(place: np.ndarray, size: np.ndarray, seed: int = 0) -> tuple[np.ndarray, list[Gradients]]:
    """Gradients of length ``size`` that lean ``place`` (−1 … 1) along one direction; their cosines."""
    rng = np.random.default_rng(seed)
    gradients, total = [], np.zeros((len(place),) * 2, dtype=np.float32)
    for checkpoint in (3, 5):
        rest = rng.standard_normal((len(place), 60))
        rest[:, 0] = 0
        rest *= (np.sqrt(1 - place**2) / np.linalg.norm(rest, axis=1))[:, None]
        rest[:, 0] = place
        rows = rest * size[:, None]
        gradients.append(Gradients(checkpoint, rows, size, np.ones((len(place), 2))))
        total += cosines(rows) / 2
    np.fill_diagonal(total, 0)
    return total, gradients


def test_pull_is_the_change_of_the_loss_along_the_direction_of_the_pair() -> None:
    rng = np.random.default_rng(1)
    _, gradients = on_an_axis(rng.uniform(-0.9, 0.9, 40), rng.uniform(0.5, 2, 40))
    sides = np.arange(10), np.arange(10, 20)
    squares = np.zeros(40)
    for at in gradients:
        u = at.sketch[:10].mean(axis=0) - at.sketch[10:20].mean(axis=0)
        squares += np.array([(g @ u / np.linalg.norm(u)) ** 2 for g in at.sketch])
    np.testing.assert_allclose(pull(gradients, sides), np.sqrt(squares / 2))


def test_on_a_continuous_axis_the_examples_it_moves_most_stay() -> None:
    rng = np.random.default_rng(2)
    place, size = rng.uniform(-0.9, 0.9, 300), rng.uniform(0.2, 3, 300)
    similarity, gradients = on_an_axis(place, size)
    sides = np.flatnonzero(place > 0.3), np.flatnonzero(place < -0.3)
    (kept,) = keep_outliers([sides], similarity, gradients, share=0.2)
    members = np.concatenate(kept)
    assert len(members) == 60
    left = np.setdiff1d(np.concatenate(sides), members)
    pulls = pull(gradients, sides)
    assert pulls[members].min() >= pulls[left].max()
    assert size[members].mean() > 1.3 * size[left].mean()
    twice = keep_outliers([sides], similarity, gradients, weights=np.full(300, 2.0), share=0.2)
    assert [a.tolist() for a in twice[0]] == [a.tolist() for a in kept]


def test_the_last_few_of_an_axis_with_long_tails_are_no_outliers_here_either() -> None:
    place = np.sinh(np.linspace(-30, 30, 300))
    place /= np.abs(place).max() / 0.95
    similarity, gradients = on_an_axis(place, np.ones(300))
    ends = np.arange(5), np.arange(295, 300)
    labels, weights = np.zeros(300, dtype=np.int64), np.full(300, 10.0)
    assert stands_apart(similarity, ends, None, labels)  # beyond 98 % of the others
    assert keep_outliers([ends], similarity, gradients, weights, 0.01, labels) == []  # not beyond the next


def test_few_members_on_an_axis_and_groups_that_stand_apart_are_left_as_they_are() -> None:
    rng = np.random.default_rng(3)
    place = np.concatenate([np.full(50, 0.95), np.full(50, -0.95), rng.uniform(-0.1, 0.1, 200)])
    similarity, gradients = on_an_axis(place, np.ones(300))
    sides = np.arange(50), np.arange(50, 100)  # a third of all examples, far from the others
    (kept,) = keep_outliers([sides], similarity, gradients, share=0.2)
    assert [a.tolist() for a in kept] == [a.tolist() for a in sides]
    place = rng.uniform(-0.9, 0.9, 300)
    similarity, gradients = on_an_axis(place, np.ones(300))
    order = np.argsort(place)
    few = np.sort(order[-20:]), np.sort(order[:20])
    assert keep_outliers([few], similarity, gradients, share=0.2)[0][0].tolist() == few[0].tolist()


def test_a_pair_that_is_left_with_too_few_members_goes_and_leaves_its_place_to_others() -> None:
    rng = np.random.default_rng(4)
    place = rng.uniform(-0.9, 0.9, 300)
    similarity, gradients = on_an_axis(place, np.ones(300))
    order = np.argsort(place)
    strong = np.sort(order[-60:]), np.sort(order[:60])
    weak = np.sort(order[150:160]), np.sort(order[140:150])
    (kept,) = keep_outliers([strong, weak], similarity, gradients, share=0.2)
    assert np.isin(kept[0], strong[0]).all()
    assert len(np.concatenate(kept)) == 60


def test_shares_are_held_against_what_as_many_examples_can_hold() -> None:
    energy = np.array([5.0, 4.0, 1.0, 0.0, 0.0])
    (note,) = notes_on_shares(energy, [(np.array([0]), np.array([2]))], 5)
    assert "60% of the energy of high-passed loss deltas" in note
    assert "40% of the examples" in note
    assert note.endswith("more than 90%")
    pair = [(np.array([0]), np.array([1]))]
    assert notes_on_shares(energy, [], 5) == notes_on_shares(np.zeros(3), pair, 5) == []


def test_of_one_loss_delta_no_share_is_said_and_few_are_not_called_high_passed() -> None:
    energy, pair = np.array([5.0, 4.0, 1.0]), [(np.array([0]), np.array([2]))]
    assert notes_on_shares(energy, pair, 1) == []
    (few,) = notes_on_shares(energy, pair, 4)
    assert "of the energy of loss deltas" in few


def test_the_ends_of_an_axis_with_long_tails_do_not_stand_apart_and_a_group_as_rare_does() -> None:
    rng = np.random.default_rng(0)
    tails = np.sort(np.abs(rng.standard_t(3, 6000)))
    members, others = tails[-14:], tails[None, :-14]
    everybody = np.ones(others.shape, dtype=bool)
    low = np.quantile(members, 0.1)
    assert low / reached(others, everybody, 14, 600)[0] > 1.5  # beyond 98 % of all others
    assert low / reached(others, everybody, 14, 6000)[0] < 1.2  # not beyond the next in the tail
    noise, group = np.abs(rng.standard_normal((1, 5986))), 8 + rng.standard_normal(14)
    assert np.quantile(group, 0.1) / reached(noise, everybody, 14, 6000)[0] > 1.5
    for count, kth in ((14, 2), (10, 1), (3, 1), (119, 12)):
        assert reached(others, everybody, count, 6000)[0] == others[0, -kth]
    assert reached(others, everybody, 120, 6000)[0] == np.quantile(others, 0.98)
    assert reached(others, ~everybody, 14, 6000)[0] == np.quantile(others, 0.98)  # nobody has their labels
    assert reached(others[:, :0], everybody[:, :0], 5, 6000).tolist() == [0]


def test_candidates_that_were_drawn_count_for_all_that_are_none() -> None:
    rng = np.random.default_rng(0)
    sizes = np.sort(np.abs(rng.standard_normal(4000)))
    far, drawn = sizes[-1500:], rng.permutation(sizes[:-1500])[:500]
    weights = np.repeat([1.0, 5.0], [1500, 500])
    order = rng.permutation(2000)
    some, stand_for = np.concatenate([far, drawn])[order][None], weights[order][None]
    labels, everybody = np.tile([0, 1], 1000)[None], np.ones((1, 2000), dtype=bool)
    of_all, of_candidates = (np.quantile(s, 0.98) for s in (sizes, some))
    assert of_candidates > 1.05 * of_all
    assert reached(some, everybody, 200, 4000)[0] == of_candidates
    assert reached(some, everybody, 200, 4000, stand_for)[0] == pytest.approx(of_all, rel=1e-3)
    assert reached(some, ~everybody, 200, 4000, stand_for)[0] == pytest.approx(of_all, rel=1e-3)
    assert reached(some, labels == 1, 200, 4000, stand_for)[0] == pytest.approx(of_all, rel=0.05)
    three, counted = np.array([[3.0, 1.0, 2.0]]), np.array([[1.0, 1.0, 6.0]])  # at 0, 1/2 and 1
    assert reached(three, three > 0, 200, 4000, counted)[0] == pytest.approx(2.96)
    counted[0, 1] = 4.0  # at 0, 5 of 8.5 and 1
    assert reached(three, three > 0, 200, 4000, counted)[0] == pytest.approx(3 - 0.02 * 8.5 / 3.5)
    equal = np.full((1, 2000), 3.0)
    for alike in (everybody, labels == 1):
        assert reached(some, alike, 200, 4000, equal)[0] == pytest.approx(reached(some, alike, 200, 4000)[0])


def test_on_an_axis_within_one_class_nobody_stands_apart_from_those_between_the_ends() -> None:
    rng = np.random.default_rng(0)
    place, labels = np.zeros(600), np.repeat(np.arange(10), 60)
    place[:60] = rng.uniform(-1, 1, 60)  # of class 0, who differ in brightness
    similarity = np.outer(place, place) + 0.01 * rng.standard_normal((600, 600))
    similarity = ((similarity + similarity.T) / 2).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    ends = np.flatnonzero(place > 0.3), np.flatnonzero(place < -0.3)
    assert separation(similarity, ends) > 1.5
    assert separation(similarity, ends, labels=labels) < 1.5
    place[:60] = np.where(np.abs(place[:60]) > 0.3, np.sign(place[:60]), 0)  # two groups of that class
    similarity = np.outer(place, place) + 0.01 * rng.standard_normal((600, 600))
    similarity = ((similarity + similarity.T) / 2).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    assert separation(similarity, ends, labels=labels) > 1.5

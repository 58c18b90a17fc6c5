"""Each gate of the full method by itself: pairs that fail one demand and meet all others, and their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.fixed_point import fixed_point_pairs
from opsigcli.mining.outliers import keep_outliers
from opsigcli.mining.proposals import Proposal, propose, suppress
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.starts import Starts

M = 200
Sides = tuple[np.ndarray, np.ndarray]


def blocks(
    sizes: tuple[int, int],
    within: float,
    opposed: float,
    *,
    others: int = 0,
    leaning: tuple[float, float] = (0.0, 0.0),
    noise: float = 0.02,
) -> np.ndarray:
    """Two groups, and ``others`` that resemble either group by ``leaning`` and not one another, in faint noise."""
    found = np.random.default_rng(0).standard_normal((M, M)) * noise
    a, b, rest = np.split(np.arange(sum(sizes) + others), np.cumsum(sizes))
    for rows, columns, value in ((a, a, within), (b, b, within), (a, b, -opposed)):
        found[np.ix_(rows, columns)] += value
        if rows is not columns:
            found[np.ix_(columns, rows)] += value
    for side, value in zip((a, b), leaning, strict=True):
        found[np.ix_(side, rest)] += value
        found[np.ix_(rest, side)] += value
    found = ((found + found.T) / 2).astype(np.float32)
    np.fill_diagonal(found, 0)
    return found


def found_between(similarity: np.ndarray, sizes: tuple[int, int]) -> bool:
    """Whether the one pair that comes out is made of the two groups; False where nothing comes out."""
    pairs = fixed_point_pairs(similarity)
    if not pairs:
        return False
    ((first, second),) = pairs
    if first.min() >= sizes[0]:
        first, second = second, first
    assert first.max() < sizes[0] <= second.min()
    assert second.max() < sum(sizes)
    return True


@pytest.mark.parametrize(("size", "found"), [(6, False), (30, True)])
def test_few_examples_have_to_be_more_alike_than_many(size: int, found: bool) -> None:
    # A search among so many finds six examples this much alike by chance, and never thirty.
    similarity = blocks((size, size), 0.08, 0.2, noise=0.005)
    assert any(proposal.holds for proposal in propose(Starts(similarity))) is found
    assert found_between(similarity, (size, size)) is found


@pytest.mark.parametrize(("opposed", "found"), [(0.06, False), (0.12, True)])
def test_groups_have_to_oppose_one_another_however_clear_they_are(opposed: float, found: bool) -> None:
    similarity = blocks((30, 30), 0.17, opposed, noise=0.005)
    assert found_between(similarity, (30, 30)) is found


@pytest.mark.parametrize(("opposed", "found"), [(0.1, False), (0.2, True)])
def test_groups_oppose_one_another_at_least_a_quarter_as_much_as_they_are_alike(
    opposed: float, found: bool
) -> None:
    assert found_between(blocks((12, 12), 0.7, opposed), (12, 12)) is found


@pytest.mark.parametrize(("larger", "found"), [(42, False), (30, True)])
def test_a_group_opposes_one_of_similar_size(larger: int, found: bool) -> None:
    sizes = (6, larger)
    assert found_between(blocks(sizes, 0.6, 0.35), sizes) is found


@pytest.mark.parametrize(("leaning", "found"), [((0.1, -0.65), False), ((0.1, -0.3), True)])
def test_members_stand_farther_out_than_others_that_oppose_the_same_group(
    leaning: tuple[float, float], found: bool
) -> None:
    similarity = blocks((10, 10), 0.4, 0.3, others=10, leaning=leaning)
    assert found_between(similarity, (10, 10)) is found


def test_on_an_axis_no_more_than_a_fifth_are_members_whatever_was_proposed() -> None:
    place = np.random.default_rng(0).uniform(-0.9, 0.9, M)
    rows = np.column_stack([place, np.sqrt(1 - place**2)[:, None] * np.eye(M)])
    similarity = np.outer(place, place) * (1 - np.eye(M))
    gradients = [Gradients(0, rows, np.ones(M), np.ones((M, 2)))]
    (kept,) = keep_outliers(
        [(np.flatnonzero(place > 0.3), np.flatnonzero(place < -0.3))], similarity, gradients
    )
    assert sum(map(len, kept)) == M // 5


def joined(own: float, other: float) -> bool:
    """Whether two examples with these similarities to either side of a pair end up in the first."""
    similarity = blocks((6, 6), 0.7, 0.5, noise=0.01)
    for row in (12, 13):
        similarity[row, :6] = similarity[:6, row] = own
        similarity[row, 6:12] = similarity[6:12, row] = other
    ((first, second),) = fixed_point_pairs(similarity)
    assert {0, 6} == {int(first[0]), int(second[0])}
    sides = first if first[0] == 0 else second
    return bool(np.isin((12, 13), sides).all())


def test_who_stands_half_as_far_out_as_the_members_joins_them_in_the_end() -> None:
    assert joined(0.37, -0.26)


def test_who_stands_a_third_as_far_out_as_the_members_does_not() -> None:
    assert not joined(0.37, -0.06)


@pytest.mark.parametrize(("between", "joining"), [(np.linspace(0.4, 0.52, 60), 0), (np.full(4, 0.53), 4)])
def test_memberships_are_no_wider_than_groups_that_stand_apart(between: np.ndarray, joining: int) -> None:
    similarity, leaning = blocks((25, 25), 0.2, 0.2), 50 + np.arange(len(between))
    for side, value in ((slice(25), 0.2), (slice(25, 50), -0.2)):
        similarity[side, leaning] += value * between
        similarity[leaning, side] = similarity[side, leaning].T
    ((first, second),) = fixed_point_pairs(similarity)
    assert sorted((len(first), len(second))) == [25, 25 + joining]


def test_groups_that_linkage_does_not_see_are_found_from_single_examples() -> None:
    assert found_between(blocks((50, 50), 0.13, 0.13, noise=0.01), (50, 50))


def proposal(rows: range, opposition: float, separation: float) -> Proposal:
    half = len(rows) // 2
    return Proposal(
        (np.array(rows[:half]), np.array(rows[half:])), opposition, (opposition, opposition), separation
    )


@pytest.mark.parametrize(("start", "kept"), [(12, 2), (8, 1)])
def test_of_two_proposals_that_share_half_of_their_members_one_is_left(start: int, kept: int) -> None:
    both = [proposal(range(20), 0.5, 1.2), proposal(range(start, start + 20), 0.4, 1.2)]
    assert len(suppress(both)) == kept
    assert suppress(both)[0] is both[0]


def test_among_proposals_that_stand_apart_the_more_opposed_one_is_left() -> None:
    opposed, apart = proposal(range(20), 0.5, 2.0), proposal(range(20), 0.4, 9.0)
    assert suppress([apart, opposed]) == [opposed]


def test_among_proposals_as_opposed_the_one_that_stands_apart_is_left() -> None:
    mixed, apart = proposal(range(20), 0.41, 0.7), proposal(range(20), 0.4, 1.4)
    assert suppress([mixed, apart]) == [apart]


def test_more_than_half_of_all_examples_are_no_proposal() -> None:
    assert propose(Starts(blocks((60, 60), 0.6, 0.5))) == []
    assert propose(Starts(blocks((45, 45), 0.6, 0.5))) != []

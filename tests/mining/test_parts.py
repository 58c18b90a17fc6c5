"""Image features, explained loss changes, the first window, and the methods on losses alone."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.features import (
    auc,
    auc_among,
    explained,
    image_features,
    opposing_classes,
    shared_feature,
)
from opsigcli.mining.search import Search, losses_alone, top_rule
from opsigcli.mining.window import first_window


def _naive_auc(values: np.ndarray, members: np.ndarray, others: np.ndarray) -> float:
    return float(
        np.mean([(values[m] > values[o]) + (values[m] == values[o]) / 2 for m in members for o in others])
    )


def test_auc_of_many_groups_counts_pairs_and_ties_half() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, 60).astype(float)  # many ties
    drawn = np.stack([rng.permutation(60)[:11] for _ in range(20)])
    first, second = drawn[:, :4], drawn[:, 4:]
    expected = [_naive_auc(values, a, b) for a, b in zip(first, second, strict=True)]
    assert auc(values, first, second) == pytest.approx(expected)


@pytest.mark.parametrize("outside", [range(60), range(30), range(5)])
def test_auc_among_others_leaves_out_the_members_themselves(outside: range) -> None:
    rng = np.random.default_rng(1)
    values, others = rng.integers(0, 12, 60).astype(float), np.array(outside)
    drawn = np.stack([rng.permutation(60)[:7] for _ in range(20)])
    rest = [np.setdiff1d(others, members) for members in drawn]
    expected = [_naive_auc(values, m, r) if len(r) else 0.5 for m, r in zip(drawn, rest, strict=True)]
    assert auc_among(values, drawn, others) == pytest.approx(expected)


def test_image_features_tell_what_an_image_looks_like() -> None:
    images = np.zeros((3, 3, 4, 4), dtype=np.float32)
    images[1] = 1  # white
    images[2, 0] = 1  # red
    found = image_features(images)
    assert found["brightness"].tolist() == pytest.approx([0, 1, 1 / 3])
    assert found["red against green"].tolist() == pytest.approx([0, 0, 1])
    assert found["saturation"].tolist() == pytest.approx([0, 0, 1])
    assert set(image_features(images[:, :1])) == {"brightness", "contrast"}
    assert image_features(np.zeros((3, 5))) == {}


def test_the_feature_that_members_share_is_named_with_its_null() -> None:
    rng = np.random.default_rng(0)
    features = {"noise": rng.random(100), "light": rng.random(100)}
    features["light"][:10] += 3
    first = np.stack([np.arange(5), *(rng.permutation(100)[:5] for _ in range(49))])
    second = np.stack([np.arange(5, 10), *(rng.permutation(100)[:5] for _ in range(49))])
    groups, others = (first, second), np.arange(10, 100)
    found = shared_feature(features, "members", groups, others)
    assert found["members by light"].value == 1
    assert found["members by light"].definition == "members by FEATURE"
    assert found["members by light"].feature == "light"
    assert found["members by light"].p_value == 1 / 50
    ((name, sides),) = shared_feature(features, "sides", groups, others).items()
    assert name.startswith("sides by")
    assert sides.p_value > 0.02


def test_explained_is_the_adjusted_r2_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    labels, feature = np.arange(60) % 3, rng.standard_normal(60)
    high_passed = rng.standard_normal((8, 60)) + 2 * (labels == 1) + feature * labels
    found = explained(high_passed, labels, {"x": feature})
    rows = high_passed - high_passed.mean(axis=1, keepdims=True)
    for name, design in (
        ("class", np.eye(3)[labels]),
        ("class and features", np.column_stack([np.eye(3)[labels], np.eye(3)[labels] * feature[:, None]])),
    ):
        left = rows.T - design @ np.linalg.lstsq(design, rows.T, rcond=None)[0]
        expected = 1 - ((left**2).sum() / (60 - design.shape[1])) / ((rows**2).sum() / 59)
        assert found[name] == pytest.approx(expected)
    assert explained(np.zeros((4, 60)), labels, {}) == {}


def test_classes_of_any_size_that_move_against_one_another_are_named_and_none_where_one_moves_alone() -> None:
    labels = np.repeat(np.arange(4), [180, 60, 180, 180])
    turn = (-1.0) ** np.arange(40)[:, None]
    noise = 0.02 * np.random.default_rng(0).standard_normal((40, 600))
    both = noise + turn * np.array([0.2, -1, 0, 0])[labels]
    assert opposing_classes(both, labels, ("a", "b", "c", "d")) == (("b",), ("a",))
    assert opposing_classes(noise + turn * (labels == 1), labels, ()) == (("class 1",), ())
    assert opposing_classes(both[:, labels < 2], labels[labels < 2], ("a", "b")) == (("b",), ("a",))


def test_classes_that_part_in_a_course_that_never_turns_back_do_not_swing() -> None:
    labels = np.repeat([0, 1], 10)
    apart = np.where(labels == 0, 1.0, -1.0)
    smooth = np.exp(-np.arange(30) / 10)
    assert opposing_classes(np.outer(smooth - smooth.mean(), apart), labels, ("a", "b")) == ((), ())
    turning = np.outer((-1.0) ** np.arange(30), apart)
    assert all(opposing_classes(turning, labels, ("a", "b")))
    drawn = np.random.default_rng(0).normal(size=34)  # as between checkpoints far apart
    high_passed = drawn[2:-2] - np.convolve(drawn, np.full(5, 0.2), "valid")
    assert all(opposing_classes(np.outer(high_passed, apart), labels, ("a", "b")))


def test_the_first_oscillation_is_found_up_to_where_it_has_fallen() -> None:
    amplitude = np.full(200, 0.01)
    amplitude[60:100] = np.linspace(0.1, 1.0, 40)
    amplitude[100:120] = 0.2
    amplitude[150:] = 3.0
    begin, end = first_window(amplitude)
    assert 70 <= begin <= 85
    assert 99 <= end <= 102


@pytest.mark.parametrize("amplitude", [np.zeros(50), np.full(50, np.nan), np.ones(4), np.ones(50)])
def test_a_trace_without_a_first_oscillation_has_some_window(amplitude: np.ndarray) -> None:
    begin, end = first_window(amplitude)
    assert 0 <= begin < end <= len(amplitude)


def swinging() -> Search:
    """Rows 0–9 against 10–19 of 60, over 40 steps."""
    rng = np.random.default_rng(0)
    sign = np.zeros(60)
    sign[:10], sign[10:20] = 1, -1
    beat = np.where(np.arange(40) % 2, 1.0, -1.0) * rng.uniform(0.5, 1.5, 40)
    deltas = (np.outer(beat, sign) + 0.05 * rng.standard_normal((40, 60))).astype(np.float32)
    deltas[30] += 1  # the mean loss jumps
    return Search(None, deltas, deltas - np.median(deltas, axis=1, keepdims=True), (deltas**2).sum(axis=0))


def test_losses_alone_tell_two_groups_that_swing_against_one_another() -> None:
    ((a, b),) = losses_alone(swinging())
    assert {tuple(a), tuple(b)} == {tuple(range(10)), tuple(range(10, 20))}


def test_the_plain_rule_takes_the_most_risen_and_most_fallen_of_a_step() -> None:
    search = swinging()
    first, second = top_rule(search)[0]
    order = np.argsort(search.deltas[30])
    assert set(first.tolist()) == set(order[-20:].tolist())
    assert set(second.tolist()) == set(order[:20].tolist())

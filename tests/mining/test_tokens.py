"""Tokens that stand in more members of a group than chance would have it."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from opsigcli.mining.features import explained, prototype
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.tokens import PREDICTED, SEEN, labelled_tokens, shared_tokens, spelled
from opsigcli.mining_records import (
    Evidence,
)


def test_tokens_are_taken_where_there_is_something_to_predict() -> None:
    inputs = np.array([[4, 5, 6], [7, 8, 9], [1, 2, 3]])
    targets = np.array([[5, -100, 7], [-1, 9, -100], [-100, -100, -100]])
    found = labelled_tokens(inputs, targets)
    np.testing.assert_array_equal(found[SEEN], [[4, 6], [8, -1], [-1, -1]])
    np.testing.assert_array_equal(found[PREDICTED], [[5, 7], [9, -1], [-1, -1]])


def test_p_values_are_hypergeometric_times_the_tokens_tried() -> None:
    table = np.full((20, 2), 3)
    table[:4] = 7  # twice in each of four members, and in one other candidate
    table[9, 0] = 7
    found = shared_tokens({SEEN: table}, (np.arange(5), np.arange(10, 15)))
    member = found["first: token seen 7"]
    p = sum(comb(5, k) * comb(15, 5 - k) for k in range(4, 6)) / comb(20, 5)
    assert member.p_value == pytest.approx(4 * p)  # two tokens, two sides
    assert (member.value, member.null) == (0.8, 0.25)
    assert (member.definition, member.feature, member.side) == ("SIDE: token seen", "7", "first")
    assert "first: token seen 3" not in found
    assert found["second: token seen 3"].p_value == 1.0  # the clearest of a side that has none


def test_random_groups_seldom_have_a_token_in_common() -> None:
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, 101)
    hits = 0
    for _ in range(200):
        table = rng.choice(100, (300, 1), p=frequencies / frequencies.sum())
        rows = rng.permutation(300)
        found = shared_tokens({SEEN: table}, (rows[:25], rows[25:50]))
        hits += any(entry.p_value <= 0.05 for entry in found.values())
    assert hits / 200 <= 0.05


def test_tokens_are_no_feature_that_loss_deltas_are_explained_by() -> None:
    rng = np.random.default_rng(0)
    light, tokens = rng.random(60), rng.integers(0, 4, (60, 1))
    high_passed, labels = rng.standard_normal((5, 60)), np.arange(60) % 3
    found = explained(high_passed, labels, {"light": light, PREDICTED: tokens})
    assert found == explained(high_passed, labels, {"light": light})


def test_tokens_are_spelled_where_there_is_a_vocabulary() -> None:
    def entry(definition: str, feature: str) -> Evidence:
        return Evidence(1.0, 0.1, 0.01, definition, feature)

    given = {
        "first: token seen 1": entry("SIDE: token seen", "1"),
        "second: token predicted 8": entry("SIDE: token predicted", "8"),
        "members by light": entry("members by FEATURE", "light"),
    }
    found = spelled(given, ("a", "cat"))
    assert {name: evidence.feature for name, evidence in found.items()} == {
        "first: token seen 'cat'": "cat",
        "second: token predicted 8": "8",
        "members by light": "light",
    }
    assert list(found) == ["first: token seen 'cat'", "second: token predicted 8", "members by light"]


def test_the_prototype_is_the_member_whose_gradient_is_nearest_to_the_centroid() -> None:
    rng = np.random.default_rng(2)
    members = np.array([3, 8, 11, 20, 29])
    gradients, nearness = [], np.zeros(len(members))
    for checkpoint in (4, 9):
        rows = (rng.standard_normal((30, 5)) + 1) * rng.uniform(0.1, 9, (30, 1))
        rows[8] = 0  # a gradient without direction is never nearest
        gradients.append(Gradients(checkpoint, rows, np.linalg.norm(rows, axis=1), rows))
        unit = np.array([r / np.linalg.norm(r) if r.any() else r for r in rows])
        nearness += unit[members] @ unit[members].mean(axis=0)
    assert prototype(gradients, members) == members[np.argmax(nearness)]
    assert nearness[1] == 0

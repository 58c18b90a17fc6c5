"""The arms of the causal comparison."""

from __future__ import annotations

import numpy as np

from opsigcli.gradients.ablation import RANDOM, causal_words, random_control

LABELS = np.array([0] * 20 + [1] * 5)


def test_the_random_control_is_class_matched_and_without_members() -> None:
    members = np.array([3, 4, 5, 20, 21])
    control = random_control(LABELS, members, seed=0)
    assert sorted(LABELS[control]) == [0, 0, 0, 1, 1]
    assert not set(control.tolist()) & set(members.tolist())
    assert control.tolist() == sorted(control.tolist())


def test_a_control_is_as_large_as_the_groups_where_a_class_has_too_few_others() -> None:
    members = np.array([3, 20, 21, 22, 23])
    control = random_control(LABELS, members, seed=0)
    assert sorted(LABELS[control]) == [0, 1, 1, 1, 1]
    assert 24 in control  # the only other
    assert len(np.intersect1d(control, members)) == 3


def test_members_in_the_random_control_are_told() -> None:
    arm = {"removed": RANDOM, "examples": 5, "sharpness_start": 1.0, "sharpness_end": 2.0, "rises": 0.1}
    comparison = {
        "step": 7,
        "updates": 60,
        "caveat": "none",
        "arms": [{**arm, "members": 3, "accuracy": None}],
    }
    assert "5 examples, 3 of them members" in causal_words(comparison)[1]
    comparison["arms"] = [{**arm, "members": 0, "accuracy": None}]
    assert "members" not in causal_words(comparison)[1]

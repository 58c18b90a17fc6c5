"""A group is a key in records and words in JSON."""

from __future__ import annotations

import json

import pytest

from opsigcli.errors import StoreError
from opsigcli.mining_records import (
    REST,
    Evidence,
    GroupKey,
    Spike,
)
from opsigcli.outcome import plain
from opsigcli.sharpness_records import GroupCurvature
from opsigcli.store.decode import build, group_key


@pytest.mark.parametrize("key", [GroupKey(1, "first"), GroupKey(12, "second"), REST])
def test_a_group_is_written_in_words_and_read_back(key: GroupKey) -> None:
    assert str(key) == {1: "pair 1 first", 12: "pair 12 second", 0: "rest"}[key.pair]
    assert group_key(str(key)) == key


@pytest.mark.parametrize("text", ["", "pair", "pair x first", "pair 1 third", "pair 1 rest", "the rest"])
def test_a_word_for_no_group_is_an_error_that_says_what_to_do(text: str) -> None:
    with pytest.raises(StoreError, match="expected the name of a group") as caught:
        group_key(text)
    assert "opsig mine" in caught.value.hint


def test_the_json_of_spikes_and_of_curvature_names_groups_in_words() -> None:
    spike = Spike(1, 2, 0.5, {GroupKey(3, "first"): 0.4, REST: 0.6}, "catapult")
    written = plain(spike)
    assert written["share_of_rise"] == {"pair 3 first": 0.4, "rest": 0.6}
    assert build(Spike, json.loads(json.dumps(written)), "a spike") == spike
    held = GroupCurvature(GroupKey(1, "second"), 0.1, Evidence(0.5, 0.1), Evidence(0.3, 0.2), -0.5)
    assert plain(held)["name"] == "pair 1 second"
    assert build(GroupCurvature, json.loads(json.dumps(plain(held))), "a group") == held

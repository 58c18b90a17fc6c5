"""Records from the JSON of stores, older ones included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsigcli.mining.evidence import DEFINITIONS
from opsigcli.mining_records import (
    Evidence,
    Pair,
)
from opsigcli.outcome import plain
from opsigcli.store.decode import build

NAMED = {
    "gradient_cosine": Evidence(-0.9, 0.1, 0.005, "gradient_cosine"),
    "members by red against green": Evidence(0.9, 0.6, 0.005, "members by FEATURE", "red against green"),
    "sides by brightness": Evidence(0.7, 0.6, 0.1, "sides by FEATURE", "brightness"),
    "first: token seen 'a by 'b''": Evidence(0.9, 0.1, 1e-6, "SIDE: token seen", "a by 'b'", "first"),
    "second: token predicted '\n'": Evidence(0.9, 0.1, 1e-6, "SIDE: token predicted", "\n", "second"),
    "second: token predicted 17": Evidence(0.9, 0.1, 1e-6, "SIDE: token predicted", "17", "second"),
}


@pytest.mark.parametrize("older", [False, True])
def test_evidence_knows_its_definition_feature_and_side_also_from_an_older_store(older: bool) -> None:
    group = {"ids": [1, 2], "labels": {"cat": 2}}
    opposition = Evidence(0.5, 0.1, 0.005, "opposition")
    items = plain({"opposition": opposition, **NAMED})
    if older:
        items = {
            name: {field: item[field] for field in ("value", "null", "p_value")}
            for name, item in items.items()
        }
    data = {"first": group, "second": group, "verdict": "opposing outliers"}
    pair = build(Pair, {**data, "opposition": items.pop("opposition"), "evidence": items}, "a pair")
    assert pair.opposition == opposition
    assert pair.evidence == NAMED
    assert {entry.definition for entry in NAMED.values()} <= set(DEFINITIONS)


def test_what_a_store_says_of_evidence_is_not_read_from_its_name() -> None:
    group = {"ids": [1], "labels": {}}
    odd = replace(NAMED["sides by brightness"], definition="gradient_cosine", feature="")
    items = plain({"opposition": odd, "sides by brightness": odd})
    data = {"first": group, "second": group, "verdict": ""}
    pair = build(Pair, {**data, "opposition": items["opposition"], "evidence": items}, "a pair")
    assert pair.evidence["sides by brightness"] == odd

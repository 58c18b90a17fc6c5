"""Each number that a verdict or a trait hangs on, on either side of where it turns."""

from __future__ import annotations

import pytest

from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL, CONTINUOUS, OUTLIERS, judge, traits
from opsigcli.records import Evidence

CLEAR = {
    "opposition": Evidence(0.5, 0.0, 0.005),
    "gradient_cosine": Evidence(-0.9, 0.1, 0.005),
    "separation": Evidence(4.0, 0.5, 0.005),
    "share_ratio": Evidence(3.0, 1.0, 0.005),
    "anti_phase": Evidence(-0.9, 0.1, 0.005),
    "swing_held": Evidence(2.0, 0.0),
}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, OUTLIERS),
        ({"separation": Evidence(3.0, 0.5, 0.005)}, OUTLIERS),
        ({"separation": Evidence(2.0, 0.5, 0.005)}, CONTINUOUS),  # as brightness in photographs
        ({"opposition": Evidence(0.2, 0.0, 0.005)}, OUTLIERS),
        ({"opposition": Evidence(0.05, 0.0, 0.005)}, CHANCE),  # beyond its null, and by too little
        ({"opposition": Evidence(0.5, 0.0, 0.03)}, OUTLIERS),
        ({"opposition": Evidence(0.5, 0.0, 0.1)}, CHANCE),  # one random pair in ten does the same
        ({"gradient_cosine": Evidence(-0.3, 0.0, 0.005)}, OUTLIERS),
        ({"gradient_cosine": Evidence(-0.3, -0.25, 0.005)}, CLASS_LEVEL),
    ],
)
def test_a_verdict_turns_where_evidence_no_longer_exceeds_its_null(
    changed: dict[str, Evidence], verdict: str
) -> None:
    assert judge(CLEAR | changed)[0] == verdict


@pytest.mark.parametrize(("by_class", "verdict"), [(0.3, CONTINUOUS), (0.7, CLASS_LEVEL)])
def test_where_classes_explain_most_of_the_loss_changes_only_groups_that_stand_apart_are_more(
    by_class: float, verdict: str
) -> None:
    tails = CLEAR | {"separation": Evidence(1.0, 0.5, 0.005)}
    assert judge(tails, {"class": by_class})[0] == verdict
    assert judge(CLEAR, {"class": by_class})[0] == OUTLIERS


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"swing_held": Evidence(1.5, 0.0)}, set()),
        ({"swing_held": Evidence(0.5, 0.0)}, {"structural"}),
        ({"opposition": Evidence(0.05, 0.0, 0.005)}, {"structural"}),
        ({"share_ratio": Evidence(1.6, 1.0, 0.005)}, set()),
        ({"share_ratio": Evidence(1.1, 1.0, 0.005)}, {"active"}),
        ({"anti_phase": Evidence(-0.5, 0.1, 0.005)}, set()),
        ({"anti_phase": Evidence(-0.1, 0.1, 0.005)}, {"active"}),
        ({"separation": Evidence(3.0, 0.5, 0.005)}, set()),
        ({"separation": Evidence(2.0, 0.5, 0.005)}, {"discrete"}),
    ],
)
def test_a_trait_is_lost_with_the_evidence_for_it(changed: dict[str, Evidence], lost: set[str]) -> None:
    assert set(traits(CLEAR | changed)) == {"structural", "active", "discrete"} - lost

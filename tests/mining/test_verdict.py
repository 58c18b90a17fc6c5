"""Each number that a verdict or a trait hangs on, on either side of where it turns."""

from __future__ import annotations

import pytest

from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL, CONTINUOUS, OUTLIERS, judge, traits
from opsigcli.mining_records import (
    Evidence,
)

CLEAR = {
    "opposition": Evidence(0.3, 0.0),
    "gradient_cosine": Evidence(-0.9, 0.1),
    "separation": Evidence(3.0, 0.5),
    "cohesion": Evidence(0.4, 0.0),
    "contrast_by_class": Evidence(0.2, 0.0),
    "share_ratio": Evidence(3.0, 1.0, 0.005),
    "anti_phase": Evidence(-0.9, 0.1),
    "alternation": Evidence(-0.9, -0.5),
    "amplitude": Evidence(0.2, 0.1, 0.005),
    "swing_held": Evidence(2.0, 0.0),
}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, OUTLIERS),
        ({"separation": Evidence(1.6, 0.5)}, OUTLIERS),
        ({"separation": Evidence(1.4, 0.5)}, CONTINUOUS),
        ({"cohesion": Evidence(0.14, 0.0)}, OUTLIERS),
        ({"cohesion": Evidence(0.1, 0.0)}, CONTINUOUS),  # as brightness in photographs
        ({"opposition": Evidence(0.1, 0.05)}, OUTLIERS),
        ({"opposition": Evidence(0.1, 0.068)}, CHANCE),  # beyond its null, and by too little
        ({"opposition": Evidence(0.1, 0.08)}, CLASS_LEVEL),  # any examples of these classes do
    ],
)
def test_a_verdict_turns_where_evidence_no_longer_exceeds_its_null(
    changed: dict[str, Evidence], verdict: str
) -> None:
    assert judge(CLEAR | changed, 25)[0] == verdict


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.03, "in few or none of"),
        (0.1, "in some of"),
        (0.3, "in many of"),
        (0.002, "p 0.002 after selection"),
    ],
)
def test_how_often_the_search_finds_as_clear_a_pair_by_chance_is_said(p: float, said: str) -> None:
    reasons = judge(CLEAR | {"clarity": Evidence(0.4, 0.1, p)}, 25)[1]
    assert any(said in reason for reason in reasons)


@pytest.mark.parametrize(
    ("by_class", "separation", "verdict"),
    [
        (0.3, 1.0, CONTINUOUS),
        (0.3, 2.0, OUTLIERS),
        (0.7, 1.0, CLASS_LEVEL),
        (0.7, 2.0, CLASS_LEVEL),  # whole classes with a feature of their own reach that
        (0.7, 4.0, OUTLIERS),  # most of a class, and apart from the rest of it
    ],
)
def test_where_the_label_explains_a_contrast_only_groups_far_apart_are_more(
    by_class: float, separation: float, verdict: str
) -> None:
    explained = {"contrast_by_class": Evidence(by_class, 0.0), "separation": Evidence(separation, 0.5)}
    assert judge(CLEAR | explained, 25)[0] == verdict


@pytest.mark.parametrize(
    ("smaller", "swing", "verdict"),
    [
        (9, -0.9, CHANCE),
        (12, -0.9, CONTINUOUS),  # as brightness within a class of photographs
        (12, 0.1, CHANCE),  # as what a search picks out beside whole classes
        (60, 0.1, CONTINUOUS),
    ],
)
def test_few_that_are_hardly_alike_are_no_end_of_an_axis(smaller: int, swing: float, verdict: str) -> None:
    found = {
        "cohesion": Evidence(0.1, 0.0),
        "separation": Evidence(1.3, 0.5),
        "anti_phase": Evidence(swing, 0.5),
    }
    assert judge(CLEAR | found, smaller)[0] == verdict


@pytest.mark.parametrize(
    ("gradients", "losses", "verdict"),
    [
        (-0.5, Evidence(-1.0, -0.6), CLASS_LEVEL),
        (-0.5, None, CLASS_LEVEL),  # too few held-out steps
        (-0.5, Evidence(-1.0, 0.1), CONTINUOUS),
        (-0.2, Evidence(-1.0, -0.6), CONTINUOUS),
    ],
)
def test_no_axis_is_named_where_random_groups_of_the_labels_oppose_in_gradients_and_losses(
    gradients: float, losses: Evidence | None, verdict: str
) -> None:
    found = CLEAR | {"separation": Evidence(1.0, 0.5), "gradient_cosine": Evidence(-0.95, gradients)}
    del found["anti_phase"]
    assert judge(found | ({"anti_phase": losses} if losses else {}), 25)[0] == verdict
    apart = found | {"separation": Evidence(2.0, 0.5), "anti_phase": Evidence(-1.0, -0.6)}
    assert judge(apart, 25)[0] == OUTLIERS


@pytest.mark.parametrize(
    "changed",
    [
        {"anti_phase": Evidence(-0.2, 0.1)},
        {"alternation": Evidence(1.0, -0.5)},
        {"amplitude": Evidence(5e-7, 1e-7, 0.005)},
    ],
)
def test_losses_swing_where_they_part_every_step_and_visibly(changed: dict[str, Evidence]) -> None:
    assert any("losses swing against one another" in reason for reason in judge(CLEAR, 25)[1])
    assert not any("losses swing against one another" in reason for reason in judge(CLEAR | changed, 25)[1])
    assert "active" not in traits(CLEAR | changed)


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"swing_held": Evidence(1.5, 0.0)}, set()),
        ({"swing_held": Evidence(0.5, 0.0)}, {"structural"}),
        ({"opposition": Evidence(0.03, 0.0)}, {"structural"}),
        ({"share_ratio": Evidence(1.6, 1.0, 0.005)}, set()),
        ({"share_ratio": Evidence(1.1, 1.0, 0.005)}, {"active"}),
        ({"anti_phase": Evidence(-0.5, 0.1, 0.005)}, set()),
        ({"anti_phase": Evidence(-0.1, 0.1, 0.005)}, {"active"}),
        ({"separation": Evidence(1.6, 0.5)}, set()),
        ({"separation": Evidence(1.4, 0.5)}, {"discrete"}),
    ],
)
def test_a_trait_is_lost_with_the_evidence_for_it(changed: dict[str, Evidence], lost: set[str]) -> None:
    assert set(traits(CLEAR | changed)) == {"structural", "active", "discrete"} - lost

"""What the evidence says about a pair, in words, with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsigcli.records import Evidence

CHANCE = "not distinguishable from chance"
CLASS_LEVEL = "class-level opposition only"
CONTINUOUS = "tails of one continuous axis"
OUTLIERS = "opposing outliers"
UNJUDGED = "proposed from losses alone, not judged"

SIGNIFICANT = 0.05
MARGIN = 0.1  # of a cosine, beyond its null
APART = 2.4  # separation from which groups are discrete; brightness in photographs reaches 2.0, planted features 2.8
CONCENTRATED = 1.3  # share ratio
HELD = 1.0  # swing held; the method asks for more
BY_CLASS = (
    0.5  # adjusted R² of high-passed loss deltas on the class from which whole classes oppose one another
)
SWING = -0.3  # correlation of the groups' loss deltas on held-out steps


def judge(
    evidence: Mapping[str, Evidence], explained: Mapping[str, float] | None = None
) -> tuple[str, tuple[str, ...]]:
    """The verdict on a pair, and the reasons for it.

    Args:
        evidence: by name, as in ``evidence.DEFINITIONS``; without an opposition there is no verdict.
        explained: adjusted R² of all high-passed loss deltas on the class, as in ``features.explained``.

    Returns:
        One of the four verdicts, and one sentence per piece of evidence that was weighed.
    """
    if "opposition" not in evidence:
        reason = "without gradients neither opposition nor its null can be measured"
        return UNJUDGED, (reason, *_activity(evidence))
    opposition, cosine = evidence["opposition"], evidence["gradient_cosine"]
    separation = evidence["separation"]
    reasons = [
        _compare("the groups' examples oppose one another", "opposition", opposition),
        _compare("their mean gradients point apart", "cosine", cosine),
    ]
    real = _beyond(opposition, MARGIN)
    beyond_classes = _beyond(cosine, -MARGIN)
    apart = separation.value > APART
    if not real:
        reasons[0] = _compare("random groups of the same labels oppose as much", "opposition", opposition)
    if not beyond_classes:
        reasons[1] = _compare(
            "mean gradients of random groups of the same labels do the same", "cosine", cosine
        )
    reasons.append(
        f"members stand {'apart from' if apart else 'at the end of a continuum with'} the other examples "
        f"(separation {separation.value:.2f})"
    )
    reasons += _activity(evidence)
    reasons += _selection(evidence)
    by_class = (explained or {}).get("class", 0.0)
    if not real:
        return CHANCE, tuple(reasons)
    if by_class >= BY_CLASS and not apart:
        reasons.append(
            f"the class alone explains {by_class:.0%} of the high-passed loss deltas of all examples"
        )
        return CLASS_LEVEL, tuple(reasons)
    if not beyond_classes:
        return CLASS_LEVEL, tuple(reasons)
    return (OUTLIERS if apart else CONTINUOUS), tuple(reasons)


def traits(evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Which of three labels hold: structural, active, discrete.

    *structural*: gradients oppose beyond class-matched groups, and the members hold the loss changes along their
    own direction (where that was probed). *active*: on held-out steps the losses swing against one another, and the
    pair holds more than its share of the loss changes. *discrete*: the groups stand apart from all others.
    """
    found = []
    if "opposition" in evidence:
        held = evidence.get("swing_held")
        beyond = _beyond(evidence["opposition"], MARGIN) and _beyond(evidence["gradient_cosine"], -MARGIN)
        if beyond and (held is None or held.value > HELD):
            found.append("structural")
    phase, share = evidence.get("anti_phase"), evidence.get("share_ratio")
    if phase is not None and share is not None and phase.value < SWING and share.value > CONCENTRATED:
        found.append("active")
    if "separation" in evidence and evidence["separation"].value > APART:
        found.append("discrete")
    return tuple(found)


def _activity(evidence: Mapping[str, Evidence]) -> list[str]:
    """Whether the pair was seen to move in the loss trace."""
    reasons = []
    share, phase = evidence.get("share_ratio"), evidence.get("anti_phase")
    if share is not None:
        much = share.value > CONCENTRATED
        reasons.append(
            f"the pair holds {share.value:.1f} times its share of the data in the loss changes"
            + ("" if much else ", no more than others")
        )
    if phase is None:
        reasons.append("too few held-out steps to tell whether the losses swing against one another")
    elif phase.value < SWING:
        # Any period-two motion moves whole classes against one another, so a low null is no objection here:
        # the pair's concentration tells it from its classes.
        reasons.append(
            _compare("their losses swing against one another on held-out steps", "correlation", phase)
        )
    else:
        reasons.append(
            _compare("their losses were not seen to swing against one another", "correlation", phase)
        )
    return reasons


def _selection(evidence: Mapping[str, Evidence]) -> list[str]:
    """Whether the search finds as clear a pair where there is none."""
    clear = evidence.get("clarity")
    if clear is None or clear.p_value is None:
        return []
    return [
        f"the search finds a pair as clear in {'few or none' if clear.p_value <= SIGNIFICANT else 'many'} of the "
        f"rotations that leave only class means and covariances (clarity {clear.value:.2f}, "
        f"p {clear.p_value:.2f} after selection)"
    ]


def _beyond(evidence: Evidence, margin: float) -> bool:
    """Whether a value exceeds its null by the margin (falls below it by a negative one), significantly."""
    null, p = evidence.null or 0.0, evidence.p_value or 0.0
    gap = evidence.value - null
    return (gap >= margin if margin > 0 else gap <= margin) and p <= SIGNIFICANT


def _compare(statement: str, name: str, evidence: Evidence) -> str:
    return f"{statement} ({name} {evidence.value:+.2f}, class-matched {evidence.null or 0.0:+.2f})"

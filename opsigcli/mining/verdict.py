"""What the evidence says about a pair, in words, with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.sentences import decimals, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsigcli.mining_records import (
        Evidence,
    )

CHANCE = "not distinguishable from chance"
CLASS_LEVEL = "class-level opposition only"
CONTINUOUS = "tails of one continuous axis"
OUTLIERS = "opposing outliers"
UNJUDGED = "proposed from losses alone, not judged"

SIGNIFICANT = 0.05
MANY = 0.25  # of the surrogates: a finding may have a p-value up to its false discovery rate
MARGIN = 0.04  # of an opposition, beyond its null
LEANING = 0.07  # opposition of class-matched random groups from which classes oppose one another
APART = 1.5  # separation from which groups are discrete: classes that lean on one another reach 1.35
# Separation of groups that are most of their class: whole classes with a feature of their own reach 1.6. Of 20 outputs
# under Adam, a tenth of the labels wrong, nearly whole classes reached 3.1: their opposition has no margin then.
FAR = 3.0  # and they are discrete
COHERENT = 0.12  # cohesion of discrete groups: brightness in photographs reaches .1, weak planted pairs .14
CONCENTRATED = 1.3  # share ratio
HELD = 1.0  # swing held
TOGETHER = 0.3  # cohesion times √(members − 1) of an axis' end; of what a search picks out of noise up to .22
STILL = 0.45  # likewise, where losses do not swing: beside whole classes a search picks out up to .38
BY_CLASS = 0.5  # of the variance of a contrast, between classes, from which the label explains it
SWING = -0.3  # correlation of the groups' loss deltas on held-out steps; of random groups, a cosine too
ALTERNATES = -0.3  # lag-one correlation of their difference
STABLE = 0.8  # of the members, found again in halves of what was compared
VISIBLE = 1e-3  # nats, root mean square of that difference


def judge(evidence: Mapping[str, Evidence], smaller: int) -> tuple[str, tuple[str, ...]]:
    """The verdict on a pair, and the reasons for it.

    Args:
        evidence: by name, as in ``evidence.DEFINITIONS``; without an opposition there is no verdict.
        smaller: members of the smaller side.

    Returns:
        One of the four verdicts, and one sentence per piece of evidence that was weighed.
    """
    if "opposition" not in evidence:
        reason = "without gradients neither opposition nor its null can be measured"
        return UNJUDGED, (reason, *_activity(evidence))
    opposition, separation, cohesion = (evidence[n] for n in ("opposition", "separation", "cohesion"))
    real, apart = _opposed(evidence), _apart(evidence)
    by_class = evidence["contrast_by_class"].value if "contrast_by_class" in evidence else 0.0
    reasons = [
        _compare(
            "the groups' examples oppose one another"
            if real
            else "random groups of the same labels oppose as much",
            "opposition",
            opposition,
        ),
        _compare("their mean gradients", "cosine", evidence["gradient_cosine"]),
        f"members stand {'apart from' if apart else 'at the end of a continuum with'} the other examples "
        f"(separation {separation.value:.2f}, cohesion {cohesion.value:.2f})",
        *_again(evidence),
        *_elsewhere(evidence),
        *_grown(evidence),
        *_stable(evidence),
        *_activity(evidence),
        *_selection(evidence),
    ]
    if not real:
        verdict = CLASS_LEVEL if (opposition.null or 0.0) > LEANING else CHANCE
    elif by_class >= BY_CLASS and not (apart and separation.value > FAR):
        reasons.append(f"the label explains {percent(by_class)} of how examples lean to either group")
        verdict = CLASS_LEVEL
    elif apart:
        verdict = OUTLIERS
    elif cohesion.value * (smaller - 1) ** 0.5 < (TOGETHER if swings(evidence) else STILL):
        reasons.append(
            f"members of one side are hardly alike, as {smaller} that a search picks out of noise are"
        )
        verdict = CHANCE
    elif _any_of_their_classes(evidence):
        reasons.append(
            _compare("random groups of the same labels oppose as well", "cosine", evidence["gradient_cosine"])
        )
        verdict = CLASS_LEVEL
    else:
        verdict = CONTINUOUS
    return verdict, tuple(reasons)


def _opposed(evidence: Mapping[str, Evidence]) -> bool:
    """Whether the groups oppose one another beyond random groups of the same labels."""
    opposition = evidence["opposition"]
    return opposition.value - (opposition.null or 0.0) >= MARGIN


def _any_of_their_classes(evidence: Mapping[str, Evidence]) -> bool:
    """Whether random groups of the same labels have opposed mean gradients, and losses that move against one another.

    What a network usually does for an output residual is no part of the opposition, so that classes which oppose as a
    whole may leave no more than their spread. An axis has both ends in any class.
    """
    nulls = [evidence[name].null for name in ("gradient_cosine", "anti_phase") if name in evidence]
    return all(null is not None and null < SWING for null in nulls)


def _apart(evidence: Mapping[str, Evidence]) -> bool:
    return evidence["separation"].value > APART and evidence["cohesion"].value > COHERENT


def swings(evidence: Mapping[str, Evidence]) -> bool:
    """Whether the losses were seen to swing against one another: on held-out steps, every step, and visibly so."""
    phase, turn, size = (evidence.get(name) for name in ("anti_phase", "alternation", "amplitude"))
    return (
        phase is not None
        and phase.value < SWING
        and (turn is None or turn.value < ALTERNATES)
        and (size is None or size.value > VISIBLE)
    )


def traits(evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Which of four labels hold: structural, active, discrete, unstable.

    *structural*: gradients oppose beyond class-matched groups, and the members hold the loss changes along their
    own direction (where that was probed). *active*: on held-out steps the losses swing against one another every step,
    and the pair holds more than its share of the loss changes. *discrete*: the groups stand apart from all others.
    *unstable*: of some halves of what was compared, less than four fifths of the members come back.
    """
    found = []
    if "opposition" in evidence:
        held = evidence.get("swing_held")
        if _opposed(evidence) and (held is None or held.value > HELD):
            found.append("structural")
    share = evidence.get("share_ratio")
    if swings(evidence) and share is not None and share.value > CONCENTRATED:
        found.append("active")
    if "separation" in evidence and _apart(evidence):
        found.append("discrete")
    if min(_found_again(evidence).values(), default=1.0) < STABLE:
        found.append("unstable")
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
    elif swings(evidence):
        # Any period-two motion moves whole classes against one another, so a low null is no objection here:
        # the pair's concentration tells it from its classes.
        reasons.append(
            _compare("their losses swing against one another on held-out steps", "correlation", phase)
        )
    elif phase.value < SWING:
        turn, size = (
            evidence[n].value if n in evidence else float("nan") for n in ("alternation", "amplitude")
        )
        reasons.append(
            f"their losses part and meet on held-out steps (correlation {phase.value:+.2f}), but do not swing every "
            f"step (lag-one correlation {turn:+.2f}, amplitude {size:.1g})"
        )
    else:
        reasons.append(
            _compare("their losses were not seen to swing against one another", "correlation", phase)
        )
    return reasons


def _again(evidence: Mapping[str, Evidence]) -> list[str]:
    """Whether one half of the checkpoints says what the other does."""
    again = evidence.get("replication")
    if again is None:
        return []
    holds = "stand apart" if again.value > APART else "do not stand apart"
    return [
        f"the groups as one half of the checkpoints has them {holds} at the other half (separation {again.value:.2f}, "
        "the smaller of both ways round)"
    ]


def _grown(evidence: Mapping[str, Evidence]) -> list[str]:
    """How fast the swing grew, beside what gradient descent predicts."""
    growth = evidence.get("growth")
    if growth is None:
        return []
    return [
        f"their swing grew {decimals(growth.value)} times each step up to its largest one; the curvature along their "
        f"direction predicts {decimals(growth.null or 0.0)}"
    ]


def _elsewhere(evidence: Mapping[str, Evidence]) -> list[str]:
    """What becomes of the pair in data that were never mined."""
    members = evidence.get("unseen_members")
    if members is None:
        return []
    words = (
        f"of data never mined {members.value:.1%} stand with its sides (members {members.null or 0.0:.1%})"
    )
    told = {
        "unseen_anti_phase": "anti-phase",
        "unseen_agreement": "agreement with the mined swing",
        "unseen_share_ratio": "share ratio",
    }
    found = [(word, evidence[name]) for name, word in told.items() if name in evidence]
    if not found:
        return [f"{words}: too few examples, or steps, to tell whether they swing"]
    phase, agreed = evidence.get("unseen_anti_phase"), evidence.get("unseen_agreement")
    if phase is None or agreed is None or phase.value >= SWING or agreed.value <= -SWING:
        swing = "are not seen to swing as it does"
    else:  # as the pair itself does, which need not be every step
        swing = "swing as it does" if swings(evidence) else "part and meet as it does"
        near = agreed.p_value is not None and agreed.p_value <= SIGNIFICANT
        swing += (
            ", closer to it than random ones of the same labels"
            if near
            else ", and so do random ones of the same labels"
        )
    each = "; ".join(
        f"{word} {e.value:+.2f}, class-matched {e.null or 0.0:+.2f}, p {e.p_value or 0.0:.3f}"
        for word, e in found
    )
    return [f"{words}, and {swing} ({each})"]


def _found_again(evidence: Mapping[str, Evidence]) -> dict[str, float]:
    """What was halved, to the share of the members that comes back."""
    begin = "stability_"
    return {name.removeprefix(begin): e.value for name, e in evidence.items() if name.startswith(begin)}


def _stable(evidence: Mapping[str, Evidence]) -> list[str]:
    """Whether the search finds the pair again in halves of what was compared."""
    found = _found_again(evidence)
    if not found:
        return []
    each = ", ".join(f"{halved} {value:.2f}" for halved, value in found.items())
    words = "stable" if min(found.values()) >= STABLE else "unstable"
    return [f"{words}: what the search finds again of its members in halves of {each}"]


def _selection(evidence: Mapping[str, Evidence]) -> list[str]:
    """Whether the search finds as clear a pair where there is none."""
    clear = evidence.get("clarity")
    if clear is None or clear.p_value is None:
        return []
    often = "few or none" if clear.p_value <= SIGNIFICANT else "some" if clear.p_value <= MANY else "many"
    return [
        f"the search finds a pair as clear in {often} of the "
        f"surrogates that have class means and covariances alone (clarity {clear.value:.2f}, "
        f"p {clear.p_value:.2g} after selection)"
    ]


def _compare(statement: str, name: str, evidence: Evidence) -> str:
    value, null = (
        f"{round(each, 2) + 0.0:+.2f}" for each in (evidence.value, evidence.null or 0.0)
    )  # no -0.00
    return f"{statement} ({name} {value}, class-matched {null})"

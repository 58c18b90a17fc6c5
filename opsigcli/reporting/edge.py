"""What may be said of the edge of stability: what measured checkpoints show, and no more where they miss a spike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.printable import count
from opsigcli.reporting.format import number
from opsigcli.reporting.sentences import Part, capital, made_by
from opsigcli.reporting.summary import sharpness_name, sharpness_values
from opsigcli.sentences import say
from opsigcli.sharpness_records import NO_STEP, OTHER_GRADIENT, contradicted
from opsigcli.training_records import SHARPNESS_AWARE

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Spike,
    )
    from opsigcli.records import Case
    from opsigcli.sharpness_records import SharpnessPoint

BEYOND = 2.0  # times the threshold, at which a loss that only falls is a sign that it is another
RAISED = 1.5  # times the learning rate at the bottom of a spike, from which a larger one is another threshold
IN_A_ROW = 3  # measured checkpoints, for that
NAMED_SPIKES = 6  # that no ratio covers


def against_threshold(case: Case) -> list[SharpnessPoint]:
    """The points that can be held against the threshold: converged, with a ratio."""
    values = sharpness_values(case.sharpness)
    return [
        p
        for p, value in zip(case.sharpness, values, strict=True)
        if p.converged and math.isfinite(value) and p.ratio is not None and math.isfinite(p.ratio)
    ]


def trusted(case: Case) -> list[SharpnessPoint]:
    """Those of them whose threshold the weights do not contradict."""
    unlike = contradicted(case.sharpness)
    return [p for p in against_threshold(case) if p.step not in unlike]


def uncovered(case: Case) -> list[Spike]:
    """Spikes without a stability ratio at any checkpoint from bottom to top."""
    return bare_spikes(case, against_threshold(case))


def bare_spikes(case: Case, points: list[SharpnessPoint]) -> list[Spike]:
    """Spikes without one of these points from bottom to top, at the rate that the climb was made with."""
    return [s for s in case.spikes if not points_within(case, s, points)]


def points_within(case: Case, spike: Spike, points: list[SharpnessPoint]) -> list[SharpnessPoint]:
    """Those of the points from bottom to top of a spike whose ratio is that of its steps.

    Where a checkpoint up to the top records a rate 1.5 times as large, the steps may have been made with that one: a
    ratio to the threshold of the smaller rate, as at the bottom, is not theirs.
    """
    inside = [p for p in points if spike.step <= p.step <= spike.next_step]
    rates = recorded_rates(case, spike)
    most = max(rates.values(), default=math.nan)

    def theirs(point: SharpnessPoint) -> bool:
        rate = rates.get(point.step, math.nan)
        given = point.lr is not None and not math.isclose(
            point.lr, rate, rel_tol=1e-6
        )  # by --lr, or found late
        return given or not rate * RAISED <= most

    return [p for p in inside if theirs(p)]


def recorded_rates(case: Case, spike: Spike) -> dict[int, float]:
    """Step to learning rate, of the checkpoints from bottom to top that record one."""
    if case.lrs is None:
        return {}
    at = zip(case.trace.steps.tolist(), case.lrs.tolist(), strict=True)
    return {step: lr for step, lr in at if spike.step <= step <= spike.next_step and math.isfinite(lr)}


def raised(case: Case, spike: Spike) -> bool:
    """Whether a checkpoint up to its top records a rate 1.5 times that of its bottom."""
    rates = recorded_rates(case, spike)
    before = rates.get(spike.step)
    return before is not None and max(rates.values()) > before and max(rates.values()) >= RAISED * before


def covering_command(case: Case) -> str:
    """The command that measures at the spikes that are not covered, or along the run where there are none."""
    rows = {int(step): row for row, step in enumerate(case.trace.steps.tolist())}
    bare = [s for s in uncovered(case) if s.step in rows and s.next_step in rows]
    every = min((1 if raised(case, s) else rows[s.next_step] - rows[s.step] + 1 for s in bare), default=1)
    return command("sharpness", store=case.store, options=("--every", str(every)) if every > 1 else ())


def uncovered_words(case: Case) -> str:
    """Which spikes no ratio covers: ``spikes from steps 20, 31 and 2 more are not covered``; "" where all are."""
    bare = uncovered(case)
    if not bare:
        return ""
    named = ", ".join(f"{spike.step:,}" for spike in bare[:NAMED_SPIKES])
    more = f" and {len(bare) - NAMED_SPIKES} more" if len(bare) > NAMED_SPIKES else ""
    which, verb = ("the spike", "is") if len(bare) == 1 else ("spikes", "are")
    return f"{which} from {case.run.axis.named(len(bare))} {named}{more} {verb} not covered"


def measured_words(case: Case, points: list[SharpnessPoint]) -> str:
    """``11 of 41 checkpoints measured``."""
    return f"{len(points)} of {count(len(case.trace.steps), 'checkpoint')} measured"


def edge(case: Case) -> Part:
    """The verdict on sharpness and its threshold. Only converged points count."""
    if not case.sharpness:
        return [], [], [say("edge: to measure", command=command("sharpness", store=case.store))]
    values = dict(zip(case.sharpness, sharpness_values(case.sharpness), strict=True))
    good = [p for p in case.sharpness if p.converged and math.isfinite(values[p])]
    missing = []
    if loose := sum(not p.converged for p in case.sharpness):
        measured = count(len(case.sharpness), "measured checkpoint")
        missing.append(say("edge: not converged", amount=loose, measured=measured))
    if not good:
        return [], [], missing
    name = sharpness_name(good)
    if any(p.fixed_statistics for p in good):
        name = f"eval-mode {name}"
        asked = command("sharpness", store=case.store, options=("--batch-norm", "batch"))
        missing.append(say("edge: fixed statistics", command=asked))
    against = against_threshold(case)
    if not against:
        known = any(p.threshold is not None for p in good)
        why = next((f" ({_bare(p.reason)})" for p in good if p.reason), "")
        if all(p.reason.startswith(NO_STEP) for p in good):
            given = command("sharpness", store=case.store, options=("--lr", "X"))
            missing.append(
                say("edge: no step", measured=count(len(good), "measured checkpoint"), command=given)
            )
        else:
            missing.append(say("edge: no ratio" if known else "edge: no threshold", why=why))
        peak = max(good, key=lambda p: values[p])
        at, checkpoints = case.run.axis.at(peak.step), count(len(good), "checkpoint")
        title = say("edge: at most", name=name, checkpoints=checkpoints, value=number(values[peak]), at=at)
        return [title], [], missing
    if idle := sum(p.reason.startswith(NO_STEP) for p in good):
        missing.append(say("edge: no step at some", amount=idle))
    peak = max(trusted(case) or against, key=lambda p: p.ratio or 0)
    top = (
        f"{number(peak.ratio)}\u00a0\u00d7 the stability threshold at {case.run.axis.at(peak.step)} "
        f"({number(values[peak])} against {number(peak.threshold)})"
    )
    bare = uncovered_words(case)
    if bare:
        missing.append(
            say(
                "edge: not covered",
                measured=capital(measured_words(case, against)),
                spikes=bare,
                command=covering_command(case),
            )
        )
    said = say(
        "edge: largest" if trusted(case) else "edge: largest, contradicted",
        name=capital(name),
        top=top,
        value=number(values[peak]),
        at=case.run.axis.at(peak.step),
        measured=measured_words(case, against),
        covered=", every spike among them" if case.spikes and not bare else "",
        result=made_by(case, "sharpness"),
    )
    return [_title(case, name, against)], [said], missing + _doubts(case, against)


def _title(case: Case, name: str, against: list[SharpnessPoint]) -> str:
    """What the heading says, of points whose threshold the weights do not contradict. The whole run is spoken of only
    where every spike, or without spikes every checkpoint, is measured."""
    points = trusted(case)
    if not points:
        return say("edge: contradicted", name=name)
    above = [p for p in points if (p.ratio or 0) >= 1]
    k, total = len(points), len(case.trace.steps)
    measured = f"the {k} of {count(total, 'checkpoint')} measured" if k < total else "every checkpoint"
    if k < len(against):
        measured = f"the {k} of {count(total, 'checkpoint')} at which the weights do not contradict it"
    elif k == 1 < total:
        measured = f"{case.run.axis.at(points[0].step)}, the one of {count(total, 'checkpoint')} measured"
    if not above and bare_spikes(case, points):
        return say("edge: not known", name=name, measured=measured_words(case, points))
    if not above:
        return say("edge: below", name=name, measured=measured)
    if len(above) == k:
        return say("edge: above", name=name, measured=measured)
    if above[0] is points[0]:
        return say("edge: above at some", name=name, amount=len(above), measured=k)
    return say("edge: reached", name=name, at=case.run.axis.at(above[0].step))


def _bare(reason: str) -> str:
    """Why there is none, without saying twice that there is none."""
    return reason.removeprefix("no ratio: ").removeprefix("no threshold: ")


def _would_have_grown(case: Case, points: list[SharpnessPoint]) -> list[SharpnessPoint]:
    """The longest row of points far beyond the threshold, while the mean loss only falls; none where steps confirm it.

    At twice the threshold what lies along the top eigenvector grows threefold each step, and the loss with it.
    """
    if any(p.step_check is not None and p.step_check.verdict == "confirmed" for p in points):
        return []
    steps, losses = case.trace.steps, case.trace.mean_loss.values
    longest: list[SharpnessPoint] = []
    row: list[SharpnessPoint] = []
    for point in sorted(points, key=lambda p: p.step):
        row = [*row, point] if (point.ratio or 0) >= BEYOND else []
        while row and np.diff(losses[(steps >= row[0].step) & (steps <= point.step)]).max(initial=-1.0) > 0:
            row = row[1:]
        longest = max(longest, row, key=len)
    return longest if len(longest) >= IN_A_ROW else []


def _doubts(case: Case, against: list[SharpnessPoint]) -> list[str]:
    """Why a ratio may say less than it seems to."""
    doubts = []
    unlike = [p for p in against if p.step_check is not None and p.step_check.verdict == "contradicted"]
    checks = [p.step_check for p in against if p.step_check is not None]
    if checks and not unlike and all(c.relative_error is None and c.reach is None for c in checks):
        doubts.append(say("edge: not checked", reason=checks[0].reason))
    confirmed = any(c.verdict == "confirmed" for c in checks)
    # By the optimizer's states alone, which say nothing of the loss that their gradients were of.
    loose = [c for c in checks if c.verdict == "confirmed" and OTHER_GRADIENT in c.reason]
    unsure = len(loose) == sum(c.verdict == "confirmed" for c in checks)
    if checks and not unlike and unsure and (loose or all(c.relative_error is None for c in checks)):
        aware = next((fact.found_in for fact in case.recorded_facts if fact.name == SHARPNESS_AWARE), "")
        if aware and any(p.optimizer != "sam" for p in against):
            doubts.append(say("edge: sharpness-aware", where=aware))
        elif loose:
            amount, measured = len(loose), count(len(against), "checkpoint")
            doubts.append(
                say("edge: other gradient", amount=amount, measured=measured, reason=loose[0].reason)
            )
        elif any(c.reach is not None for c in checks) and all(p.optimizer != "sam" for p in against):
            apart = case.run.axis.apart(case.trace.steps.tolist())
            doubts.append(say("edge: unseen", apart=f" ({apart})" if apart else ""))
    unknown = [c for c in checks if c.relative_error is not None and c.verdict == "cannot be told"]
    if unknown and not unlike and not confirmed:
        amount, measured = len(unknown), count(len(against), "checkpoint")
        doubts.append(say("edge: not told", amount=amount, measured=measured, reason=unknown[0].reason))
    if unlike:
        reason = unlike[0].step_check.reason if unlike[0].step_check else ""
        measured = count(len(against), "checkpoint")
        doubts.append(say("edge: not confirmed", amount=len(unlike), measured=measured, reason=reason))
    if grown := _would_have_grown(case, trusted(case)):
        span = case.run.axis.span(grown[0].step, grown[-1].step)
        least = min(p.ratio or 0.0 for p in grown)
        doubts.append(say("edge: would have grown", amount=len(grown), span=span, least=number(least)))
    below = all((p.ratio or 0) < 1 for p in against)
    if below and case.run.batch_size and case.run.batch_size < len(case.trace.example_ids):
        doubts.append(say("edge: minibatches", size=f"{case.run.batch_size:,}"))
    return doubts

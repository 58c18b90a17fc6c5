"""What was measured of sharpness, in lines: its phases, where it lies, and whether the weights confirm the rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opsigcli.axis import STEPS, Axis
from opsigcli.printable import printable
from opsigcli.reporting.format import number
from opsigcli.sentences import percent, say

if TYPE_CHECKING:
    from opsigcli.records import Case
    from opsigcli.sharpness_records import Phase, SharpnessPoint

VERDICTS = ("contradicted", "confirmed", "cannot be told")  # of the step check, the one to know of first


def step_check_lines(points: Sequence[SharpnessPoint], axis: Axis = STEPS) -> list[str]:
    """Whether the weights confirm the rule whose threshold is given, a line for each verdict and its reason."""
    checks = [(point.step, point.step_check) for point in points if point.step_check is not None]
    told = [
        (step, check)
        for step, check in checks
        if check.relative_error is not None or check.verdict == "contradicted"
    ]
    if not told:  # the last checkpoint is no reason where others have one
        return [say("check: not made", reason=check.reason) for _, check in checks[:1]]
    lines = []
    for verdict in VERDICTS:
        by_reason: dict[str, list[int]] = {}
        for step, check in told:
            if check.verdict == verdict:
                by_reason.setdefault(_without_numbers(check.reason), []).append(step)
        reasons = {step: check.reason for step, check in told}
        errors = {step: check.relative_error or 0.0 for step, check in told}
        for steps in by_reason.values():
            where = (
                f"at {axis.at(steps[0])}"
                if len(steps) == 1
                else f"at {len(steps)} {axis.many} from {steps[0]:,} on"
            )
            most = max(errors[step] for step in steps)
            off = "to the bit" if not most else f"(to {most:.1g} of the step)"
            lines.append(say(f"check: {verdict}", where=where, off=off, reason=reasons[steps[0]]))
    return lines


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.,e+-]*", "#", text)


def phase_lines(phases: Sequence[Phase], axis: Axis = STEPS) -> list[str]:
    """What the sharpness did along the run, a line for each phase."""
    lines = []
    for p in phases:
        where = axis.span(p.first_step, p.last_step) if p.last_step > p.first_step else axis.at(p.first_step)
        lines.append(say("sharpness: phase", where=where, phase=p.name, evidence=p.evidence))
    return lines


def largest_point(
    points: Sequence[SharpnessPoint], rank: Callable[[SharpnessPoint], int] = lambda point: 1
) -> SharpnessPoint | None:
    """The converged point with the largest sharpness, among those of the highest rank; none where that is 0."""
    good = [p for p in points if p.converged and math.isfinite(p.eigenvalues[0]) and rank(p)]
    return max(good, key=lambda p: (rank(p), p.eigenvalues[0]), default=None)


def blocks_of(point: SharpnessPoint) -> int:
    """2 where the blocks of layers were measured, 1 where layers' shares are known."""
    return 2 if any(layer.eigenvalue is not None for layer in point.layers) else int(bool(point.layers))


def groups_of(point: SharpnessPoint) -> int:
    """1 where the groups' shares were measured."""
    return int(bool(point.groups))


def curvature_lines(case: Case) -> list[str]:
    """Phases of the run, and the layer and the groups that hold the largest sharpness."""
    lines = phase_lines(case.phases, case.run.axis)
    point = largest_point(case.sharpness)
    if point is None:
        return lines + _parts(case)
    if len(point.layers) > 1:
        layer = max(point.layers, key=lambda layer: layer.shares[0])
        at, share = case.run.axis.at(point.step), percent(layer.shares[0])
        lines.append(say("sharpness: layer", at=at, layer=printable(layer.name), share=share))
    grouped = largest_point(case.sharpness, groups_of)
    for group in grouped.groups if grouped is not None else ():
        held, null = group.share.value, group.share.null
        if grouped is None or held <= group.fraction:
            continue
        beside = (
            ""
            if null is None or not math.isfinite(null)
            else f"; as many of the same classes hold {percent(null)}"
        )
        lines.append(
            say(
                "sharpness: group",
                at=case.run.axis.at(grouped.step),
                group=group.name,
                share=percent(held),
                fraction=percent(group.fraction),
                null=beside,
            )
        )
    if point.examples is not None:
        examples, everyone = f"{point.examples:,}", f"{len(case.trace.example_ids):,}"
        lines.append(say("sharpness: subset", examples=examples, all=everyone))
    return lines + _parts(case)


def _parts(case: Case) -> list[str]:
    """Which weights, examples and second moments the sharpness is of, where it is not of all that are the run's own."""
    lines = []
    for point in case.sharpness:
        if point.subsets:
            values = (point.eigenvalues[0], *point.subsets)
            least, most = (number(of, 4) for of in (min(values), max(values)))
            at = case.run.axis.at(point.step)
            lines.append(say("sharpness: spread", at=at, subsets=len(values), least=least, most=most))
    trained = {(point.parameters or 0, point.untrained) for point in case.sharpness if point.untrained}
    lines += [
        say("sharpness: trained part", trained=f"{own:,}", others=f"{others:,}")
        for own, others in sorted(trained)[-1:]
    ]
    estimated = dict.fromkeys(point.estimated for point in case.sharpness if point.estimated)
    return lines + [say("sharpness: estimated", what=what) for what in estimated]


def of_subset(case: Case) -> list[str]:
    """Of how many examples the values are, where they are not of all."""
    sizes = sorted({point.examples for point in case.critical if point.examples is not None})
    everyone = f"{len(case.trace.example_ids):,}"
    return [say("critical: subset", examples=f"{size:,}", all=everyone) for size in sizes]

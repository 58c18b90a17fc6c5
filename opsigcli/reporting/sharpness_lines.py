"""What was measured of sharpness, in lines: its phases, where it lies, and whether the weights confirm the rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opsigcli.axis import STEPS, Axis
from opsigcli.printable import printable
from opsigcli.reporting.format import percent

if TYPE_CHECKING:
    from opsigcli.records import Case
    from opsigcli.sharpness_records import Phase, SharpnessPoint

VERDICTS = {  # of the step check, the one to know of first
    "contradicted": "threshold not confirmed by the weights",
    "confirmed": "optimizer confirmed by the weights",
    "cannot be told": "whether the weights confirm the optimizer cannot be told",
}


def step_check_lines(points: Sequence[SharpnessPoint], axis: Axis = STEPS) -> list[str]:
    """Whether the weights confirm the rule whose threshold is given, a line for each verdict and its reason."""
    checks = [(point.step, point.step_check) for point in points if point.step_check is not None]
    told = [(step, check) for step, check in checks if check.relative_error is not None]
    if not told:  # the last checkpoint is no reason where others have one
        return [
            f"the optimizer was not checked against the weights: {check.reason}" for _, check in checks[:1]
        ]
    lines = []
    for verdict, words in VERDICTS.items():
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
            off = " to the bit" if not most else f" (to {most:.1g} of the step)"
            off = off if verdict == "confirmed" else ""
            lines.append(f"{words} {where}{off}: {reasons[steps[0]]}")
    return lines


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.,e+-]*", "#", text)


def phase_lines(phases: Sequence[Phase], axis: Axis = STEPS) -> list[str]:
    """What the sharpness did along the run, a line for each phase."""
    return [
        f"{axis.span(p.first_step, p.last_step)}: {p.name} ({p.evidence})"
        if p.last_step > p.first_step
        else f"{axis.at(p.first_step)}: {p.name} ({p.evidence})"
        for p in phases
    ]


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
        return lines
    if len(point.layers) > 1:
        layer = max(point.layers, key=lambda layer: layer.shares[0])
        lines.append(
            f"at {case.run.axis.at(point.step)} layer {printable(layer.name)} holds {percent(layer.shares[0])} of the "
            "top eigenvector"
        )
    grouped = largest_point(case.sharpness, groups_of)
    lines += [
        f"at {case.run.axis.at(grouped.step)} {group.name} holds {percent(group.share.value)} of the sharpness with "
        f"{percent(group.fraction)} of the examples; as many of the same classes hold {percent(group.share.null or 0)}"
        for group in (grouped.groups if grouped else ())
        if grouped is not None and group.share.value > group.fraction
    ]
    if point.examples is not None:
        lines.append(
            f"sharpness is that of {point.examples:,} random examples of {len(case.trace.example_ids):,}"
        )
    return lines

"""What ``opsig sharpness`` says of its points in the end."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from opsigcli.curvature.phases import EDGE
from opsigcli.errors import ExitCode
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Batch
from opsigcli.options import SharpnessOptions
from opsigcli.outcome import Outcome
from opsigcli.printable import count
from opsigcli.records import Case
from opsigcli.sharpness_records import SharpnessPoint


def warnings_of(
    options: SharpnessOptions,
    points: list[SharpnessPoint],
    failed: dict[str, str],
    left: list[int],
    optimizer: str,
    examples: int,
) -> list[str]:
    """What its reader should know, one line each."""
    warnings = [f"{file} failed and is left out: {reason}" for file, reason in failed.items()]
    loose = [point for point in points if not point.converged]
    if loose:
        coarse = options.precision == "float32" and any("wider type" in point.reason for point in loose)
        warnings.append(
            f"{len(loose)} of {count(len(points), 'point')} did not converge; "
            f"checkpoint {loose[0].step}: {loose[0].reason}"
            + ("; that is --precision float64" if coarse else "")
        )
    if left or any(point.partial for point in points):
        warnings.append(
            f"the budget of {options.budget} ended with {len(points)} of {len(points) + len(left)} checkpoints "
            "measured; the same command resumes from there"
        )
    bare = [point for point in points if point.ratio is None and point.reason and point.converged]
    warnings += _once([(point, point.reason) for point in bare])
    warnings += _once([(point, point.units) for point in points if point.units])
    warnings += _once([(point, note) for point in points for note in point.notes])
    warnings += _once([(p, f"estimated, not the run's own: {p.estimated}") for p in points if p.estimated])
    left_out = [point for point in points if point.untrained]
    if left_out:
        point = left_out[0]
        warnings.append(
            f"sharpness is over the {point.parameters:,} weights that train; {point.untrained:,} others never change "
            "or are in no parameter group, or had no update yet: --all-parameters has them as well"
        )
    if any(point.batch_sharpness is not None for point in points):
        warnings.append(
            "with minibatches, the sharpness of the full loss stays below the stability threshold; "
            "batch sharpness is what is held against it"
        )
    elif (
        optimizer in OPTIMIZERS
        and OPTIMIZERS.load(optimizer).batch is Batch.MINI
        and not any(point.step_check is not None and point.step_check.whole for point in points)
    ):
        warnings.append(
            "with minibatches, the sharpness of the full loss stays below the stability threshold; give the "
            "run's batch size with --minibatch to have batch sharpness as well"
        )
    return warnings + _step_warning(points) + _statistics_warning(points) + _subset_warning(points, examples)


def _step_warning(points: list[SharpnessPoint]) -> list[str]:
    """Of steps that the rule whose threshold is given does not make."""
    unlike = [p for p in points if p.step_check is not None and p.step_check.verdict == "contradicted"]
    if not unlike:
        return []
    checked = sum(
        p.step_check is not None
        and (p.step_check.relative_error is not None or p.step_check.reach is not None)
        for p in points
    )
    reason = unlike[0].step_check.reason if unlike[0].step_check else ""
    return [
        f"the threshold is not confirmed by the weights at {len(unlike)} of {checked} checkpoints; checkpoint "
        f"{unlike[0].step}: {reason}"
    ]


def _once(said: list[tuple[SharpnessPoint, str]]) -> list[str]:
    """What several points say in the same words but for numbers, once, with how many say it."""
    kinds: dict[str, list[tuple[SharpnessPoint, str]]] = {}
    for point, text in said:
        kinds.setdefault(re.sub(r"[-+.\de]*\d", "#", text), []).append((point, text))
    return [
        first if len(rest) == 0 else f"{first} (checkpoint {point.step}, and so at {len(rest)} more)"
        for (point, first), *rest in kinds.values()
    ]


def _statistics_warning(points: list[SharpnessPoint]) -> list[str]:
    if not any(p.fixed_statistics and p.ratio is not None and p.ratio >= EDGE for p in points):
        return []
    return [
        "BatchNorm's statistics were held fixed; the steps of the run saw those of their batches, whose sharpness "
        "can be several times smaller: hold that against the threshold, with --batch-norm batch"
    ]


def _subset_warning(points: list[SharpnessPoint], examples: int) -> list[str]:
    spread = _spread(points)
    if spread is None:
        return []
    return [
        f"sharpness is of {spread['examples']} of {examples} examples; at checkpoint {spread['step']} "
        f"{spread['subsets']} subsets of that size give {spread['least']:.4g} to {spread['most']:.4g}"
    ]


def _spread(points: list[SharpnessPoint]) -> dict[str, Any] | None:
    """How much λ₁ depends on the subset, at the step where it depends most."""
    spreads = []
    for point in points:
        if point.subsets:
            values = np.array([point.eigenvalues[0], *point.subsets])
            deviation = float(values.std(ddof=1) / abs(values.mean()))
            spreads.append(
                {
                    "examples": point.examples,
                    "step": point.step,
                    "subsets": len(values),
                    "least": float(values.min()),
                    "most": float(values.max()),
                    "relative_deviation": deviation,
                }
            )
    return max(spreads, key=lambda s: float(s["relative_deviation"] or 0), default=None)


def outcome(
    options: SharpnessOptions,
    case: Case,
    failed: dict[str, str],
    left: list[int],
    warnings: list[str],
    mean: str = "",
) -> Outcome:
    """What the command returns.

    Args:
        options: of the command.
        case: the run with its points.
        failed: file -> reason.
        left: steps that the budget did not reach.
        warnings: in words.
        mean: how the mean loss is taken, where not all examples count alike.
    """
    points = list(case.sharpness)
    finite = [point for point in points if math.isfinite(point.eigenvalues[0])]
    peak = max(finite, key=lambda point: point.eigenvalues[0], default=None)
    ratios = {p.step: p.ratio for p in points if p.ratio is not None and not p.ratio_contradicted}
    reached = next((step for step, ratio in ratios.items() if ratio >= 1), None)
    result = {
        "store": str(options.store),
        "unit": case.run.axis.one,
        "points": points,
        "phases": case.phases,
        "peak": None
        if peak is None
        else {"step": peak.step, "sharpness": peak.eigenvalues[0], "ratio": ratios.get(peak.step)},
        "first_step_at_threshold": reached,
        "subset": _spread(points),
        "steps_left": left,
        "failed": failed,
        "mean": mean or "over examples",
    }
    return Outcome(
        schema="opsig/sharpness",
        inputs={"options": vars(options) | {"store": str(options.store)}},
        result=result,
        warnings=tuple(warnings),
        messages=(f"the mean loss is {mean}",) if mean else (),
        exit_code=ExitCode.INCOMPLETE if failed or left else ExitCode.OK,
        view=case,
    )

"""Numbers of sharpness. A maximum over checkpoints of which some did not converge is not known, and is not given."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from opsigcli.gates.measured import Measured, missing
from opsigcli.reporting.edge import against_threshold
from opsigcli.sharpness_records import CONTRADICTED
from opsigcli.sharpness_records import contradicted as contradicted_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsigcli.records import Case
    from opsigcli.sharpness_records import CriticalSharpness, SharpnessPoint

Point = TypeVar("Point", "SharpnessPoint", "CriticalSharpness")
UNMEASURED = "the store has none: opsig sharpness"
UNLIKE = "the weights contradict the threshold"
UNMEASURED_QUICK = "the store has none: opsig sharpness --quick"


def ratio_max(case: Case) -> Measured:
    """The largest stability ratio."""
    return _largest(case, case.sharpness, _ratio(case), UNMEASURED)


def ratio_last(case: Case) -> Measured:
    """The stability ratio where the trace ends."""
    return _last(case, case.sharpness, _ratio(case), UNMEASURED)


def sharpness_max(case: Case) -> Measured:
    """The largest sharpness."""
    return _largest(case, case.sharpness, _eigenvalue, UNMEASURED)


def sharpness_last(case: Case) -> Measured:
    """Sharpness where the trace ends."""
    return _last(case, case.sharpness, _eigenvalue, UNMEASURED)


def batch_ratio_max(case: Case) -> Measured:
    """The largest ratio of batch sharpness."""
    return _largest(case, case.sharpness, _batch_ratio(case), UNMEASURED)


def critical_max(case: Case) -> Measured:
    """The largest ratio along the run's updates."""
    return _largest(case, case.critical, _critical, UNMEASURED_QUICK)


def critical_last(case: Case) -> Measured:
    """That ratio where the trace ends."""
    return _last(case, case.critical, _critical, UNMEASURED_QUICK)


def checkpoints(case: Case) -> Measured:
    """Points."""
    return Measured(float(len(case.sharpness)))


def unconverged(case: Case) -> Measured:
    """Points that did not converge."""
    if not case.sharpness:
        return missing(UNMEASURED)
    return _counted(case, [point for point in case.sharpness if not point.converged])


def contradicted(case: Case) -> Measured:
    """Points whose threshold the weights contradict."""
    if not case.sharpness:
        return missing(UNMEASURED)
    if all(point.step_check is None for point in case.sharpness):
        return missing("no step was held against the rule")
    return _counted(case, [point for point in case.sharpness if _is_contradicted(point)])


def _counted(case: Case, points: Sequence[SharpnessPoint]) -> Measured:
    at = ", ".join(case.run.axis.at(point.step) for point in points[:3])
    return Measured(float(len(points)), f"at {at}" if at else "")


def _is_contradicted(point: SharpnessPoint) -> bool:
    return point.step_check is not None and point.step_check.verdict == CONTRADICTED


def _ratio(case: Case) -> Callable[[SharpnessPoint], float | str]:
    usable, unlike = {point.step for point in against_threshold(case)}, contradicted_of(case.sharpness)

    def read(point: SharpnessPoint) -> float | str:
        if not point.converged:
            return "it did not converge"
        if point.step not in usable or point.ratio is None:
            return point.reason.removeprefix("no ratio: ") or "there is no ratio"
        return UNLIKE if point.step in unlike else point.ratio

    return read


def _eigenvalue(point: SharpnessPoint) -> float | str:
    return point.eigenvalues[0] if point.converged and point.eigenvalues else "it did not converge"


def _batch_ratio(case: Case) -> Callable[[SharpnessPoint], float | str]:
    unlike = contradicted_of(case.sharpness)

    def read(point: SharpnessPoint) -> float | str:
        if point.step in unlike:
            return UNLIKE
        return "there is no batch sharpness (--minibatch)" if point.batch_ratio is None else point.batch_ratio

    return read


def _critical(point: CriticalSharpness) -> float | str:
    return (point.reason or "there is no ratio") if point.ratio is None else point.ratio


def _largest(
    case: Case, points: Sequence[Point], read: Callable[[Point], float | str], unmeasured: str
) -> Measured:
    """The largest of the values of all points, where each has one; a NaN is larger than any."""
    if not points:
        return missing(unmeasured)
    values = [(read(point), point.step) for point in points]
    lacking = [(why, step) for why, step in values if isinstance(why, str)]
    if lacking:
        why, step = lacking[0]
        return missing(
            f"{len(lacking)} of the {len(points)} checkpoints measured have no such value; "
            f"{case.run.axis.at(step)}: {why}"
        )
    numbers = [(value, step) for value, step in values if not isinstance(value, str)]
    value, step = next((v for v in numbers if v[0] != v[0]), max(numbers))
    total = len(case.trace.steps)
    where = f"at {case.run.axis.at(step)}, of {len(points)} of {total} checkpoints measured"
    return Measured(value, where + _on(points))


def _last(
    case: Case, points: Sequence[Point], read: Callable[[Point], float | str], unmeasured: str
) -> Measured:
    if not points:
        return missing(unmeasured)
    end = int(case.trace.steps[-1])
    at = case.run.axis.at(end)
    point = next((point for point in points if point.step == end), None)
    if point is None:
        return missing(f"the last checkpoint, {at}, was not measured: add it with --steps {end}:{end}")
    value = read(point)
    return missing(f"{at}: {value}") if isinstance(value, str) else Measured(value, f"at {at}{_on([point])}")


def _on(points: Sequence[SharpnessPoint] | Sequence[CriticalSharpness]) -> str:
    """Of how many examples the values are, where they are not of all: of others they are other values."""
    sizes = sorted({point.examples for point in points if point.examples is not None})
    return f", on {' and '.join(f'{size:,}' for size in sizes)} random examples" if sizes else ""

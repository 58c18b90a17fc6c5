"""Programs that people look at the logs of their runs with, and what a case has for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from opsigcli.errors import UsageError
from opsigcli.exporting import LOGS
from opsigcli.records import Case
from opsigcli.sharpness_records import contradicted

Log = Callable[[Case], str]  # writes a case; what was done, in words


def log_of(text: str) -> Log:
    """What writes a case to the program of ``PROGRAM:PLACE``.

    Raises:
        UsageError: there is no such program or place, or the program is not installed.
    """
    program, _, place = text.partition(":")
    if program not in LOGS:
        raise refused(text)
    log: Log = LOGS.load(program)(place)
    return log


def refused(text: str) -> UsageError:
    """The error of a text that names no place of logs."""
    return UsageError(
        f"expected --log tensorboard:DIR or wandb:offline, found {text!r}",
        "example: opsig report --log tensorboard:runs/opsig",
    )


def scalars(case: Case) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of every number that is finite."""
    return (row for row in _numbers(case) if math.isfinite(row[2]))


def _numbers(case: Case) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of every number."""
    for step, value in zip(case.trace.steps.tolist(), case.trace.mean_losses.tolist(), strict=True):
        yield "loss/mean", step, value
    unlike = contradicted(case.sharpness)
    for point in case.sharpness:
        mark = "_contradicted" if point.step in unlike else ""  # a curve has no room for a footnote
        numbers = {
            "sharpness/largest_eigenvalue": point.eigenvalues[0] if point.converged else None,
            "sharpness/threshold": point.threshold,
            f"sharpness/ratio{mark}": point.ratio,
            "sharpness/batch": point.batch_sharpness,
        }
        yield from ((tag, point.step, value) for tag, value in numbers.items() if value is not None)
    for critical in case.critical:
        if critical.critical_sharpness is not None:
            yield "sharpness/critical", critical.step, critical.critical_sharpness
    if case.virtual is not None:
        for t in case.virtual.rows:
            yield "loss/interference", int(case.virtual.steps[t]), float(case.virtual.interference[t])

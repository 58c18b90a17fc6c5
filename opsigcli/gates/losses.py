"""Numbers of a loss trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.gates.measured import Measured, missing

if TYPE_CHECKING:
    from opsigcli.records import Case, Floats


def gaps(case: Case) -> str:
    """At which checkpoints some loss is not finite, in words; "" where all are.

    The mean loss of such a checkpoint is over fewer examples, or is none, and those that are gone are rarely the good
    ones: no gate passes on it.
    """
    mean, steps = case.trace.mean_loss, case.trace.steps
    bad = steps[(mean.finite < mean.total) | ~np.isfinite(mean.values)]
    if not len(bad):
        return ""
    more = f" and {len(bad) - 1} more checkpoints" if len(bad) > 1 else ""
    return f"some loss is not finite at {case.run.axis.at(int(bad[0]))}{more}"


def first(case: Case) -> Measured:
    """The mean loss where the trace begins."""
    return _at(case, 0)


def last(case: Case) -> Measured:
    """The mean loss where it ends."""
    return _at(case, len(case.trace.steps) - 1)


def _at(case: Case, row: int) -> Measured:
    mean, at = case.trace.mean_loss, case.run.axis.at(int(case.trace.steps[row]))
    if mean.finite[row] < mean.total:
        lost = mean.total - int(mean.finite[row])
        return missing(f"the loss of {lost:,} of {mean.total:,} examples is not finite at {at}")
    if (
        mean.over < mean.total
    ):  # the mean is over those that are finite everywhere, for one quantity along the run
        return missing(f"the mean loss is {mean.words}")
    return Measured(float(mean.values[row]), f"at {at}")


def smallest(case: Case) -> Measured:
    """The smallest mean loss."""
    values = case.trace.mean_losses
    return _extreme(case, values, int(np.argmin(values)))


def largest(case: Case) -> Measured:
    """The largest mean loss."""
    values = case.trace.mean_losses
    return _extreme(case, values, int(np.argmax(values)))


def _extreme(case: Case, values: Floats, row: int) -> Measured:
    if why := gaps(case):
        return missing(why)
    return Measured(float(values[row]), f"at {case.run.axis.at(int(case.trace.steps[row]))}")


def rise_max(case: Case) -> Measured:
    """The largest rise between neighbours."""
    steps = case.trace.steps
    if why := gaps(case):
        return missing(why)
    if len(steps) < 2:
        return missing("one checkpoint was traced; a rise needs two")
    changes = np.diff(case.trace.mean_losses)
    row = int(np.argmax(changes))
    if changes[row] <= 0:
        return Measured(0.0, "the mean loss never rises")
    return Measured(
        float(changes[row]), f"from {case.run.axis.between(int(steps[row]), int(steps[row + 1]))}"
    )


def right(case: Case) -> Measured:
    """The share of right answers of the examples looked at: of all, where they are few."""
    if case.look is None or not case.look.checkpoints:
        return missing("the ends of the run were not looked at: opsig trace does")
    share = case.look.last.right
    if share is None:
        return missing("the data have no right answers to count")
    looked, every = case.look.examples, case.look.of
    which = f"all {looked:,} examples" if looked == every else f"a sample of {looked:,} of {every:,} examples"
    return Measured(share, f"of {which}, {list(case.look.checkpoints)[-1]}")


def log_gap(case: Case) -> Measured:
    """The largest distance from the training log."""
    log = case.training_log
    if log is None or not log.steps:
        return missing("the run has no log of its loss that could be read")
    distances = np.abs(np.array(log.traced, dtype=np.float64) - np.array(log.logged, dtype=np.float64))
    row = int(np.argmax(distances))  # a NaN is the largest
    return Measured(float(distances[row]), f"at {case.run.axis.at(log.steps[row])}, {log.file}")


def interference(case: Case) -> Measured:
    """The largest interference of virtual steps."""
    if case.virtual is None or not len(case.virtual.steps):
        return missing("no virtual steps were taken: opsig trace --virtual-step does")
    steps = case.virtual
    if len(steps.rows) < len(steps.steps):
        return missing(f"virtual steps were taken from {len(steps.rows)} of {len(steps.steps)} checkpoints")
    row = int(np.argmax(case.virtual.interference))
    return Measured(
        float(case.virtual.interference[row]), f"at {case.run.axis.at(int(case.virtual.steps[row]))}"
    )


def failed(case: Case) -> Measured:
    """Checkpoints that failed in the last trace."""
    if case.failed is None:
        return missing(
            "the store does not say: an older opsig traced it, or the trace was interrupted; trace again"
        )
    return Measured(float(len(case.failed)), ", ".join(sorted(case.failed)[:3]))


def not_finite(case: Case) -> Measured:
    """Checkpoints with losses that are not finite."""
    mean = case.trace.mean_loss
    return Measured(float(np.count_nonzero(mean.finite < mean.total)), gaps(case))


def checkpoints(case: Case) -> Measured:
    """T."""
    return Measured(float(len(case.trace.steps)))


def examples(case: Case) -> Measured:
    """N."""
    return Measured(float(len(case.trace.example_ids)))

"""The traced mean loss against the training loss that the run logged itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.training_records import AgainstLog

if TYPE_CHECKING:
    from opsigcli.checkpoints.training_log import TrainingLog
    from opsigcli.records import Floats, Ints

ABOVE = 0.25  # of the logged loss, and
LEAST = 0.1  # nats: a traced loss above it by more than both is not that of the run
NOISE = 4.0  # standard errors of the logged mean, which is over a few minibatches
NEAREST = 5  # logged losses that one checkpoint is held against, at most


def against_log(
    steps: Ints, mean_losses: Floats, log: TrainingLog | None, not_read: tuple[str, ...] = ()
) -> AgainstLog | None:
    """Hold the traced mean losses against a log; None where there is neither a log nor one that is not read.

    A checkpoint is compared with the mean of the up to five logged losses nearest to its step, within one usual
    distance of logged steps, two where the log is denser than the checkpoints. Logged losses are of minibatches: their
    standard error is allowed for, four times; where training still moves fast it contains that movement.

    Args:
        steps: (T,) of the checkpoints.
        mean_losses: (T,) nats; NaN = not measured.
        log: what the run logged.
        not_read: what else looks like a log, and why it is not read.
    """
    if log is None:
        return AgainstLog(not_read=not_read) if not_read else None
    own, between = (float(np.median(np.diff(each))) if len(each) > 1 else 1.0 for each in (log.steps, steps))
    usual = max(own, min(2 * own, between))
    found = []
    for step, traced in zip(steps, mean_losses, strict=True):
        near = np.argsort(np.abs(log.steps - step), kind="stable")[:NEAREST]
        near = near[np.abs(log.steps[near] - step) <= usual]
        # The first checkpoint is the start itself, where the log's first mean is already over a falling loss.
        if not len(near) or not np.isfinite(traced) or step == 0:
            continue
        losses = log.losses[near]
        spread = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else 0.0
        logged = float(losses.mean())
        found.append((int(step), float(traced), logged, max(LEAST, ABOVE * abs(logged), NOISE * spread)))
    if not found:
        reason = f"{log.path.name}: no checkpoint lies within its steps {log.steps[0]:,} to {log.steps[-1]:,}"
        return AgainstLog(log.path.name, log.column, not_read=(*not_read, reason))
    at, traced_at, logged_at, allowed = zip(*found, strict=True)
    verdict = _verdict(np.array(traced_at), np.array(logged_at), np.array(allowed))
    words = _words(verdict, log, found)
    return AgainstLog(log.path.name, log.column, at, traced_at, logged_at, allowed, verdict, words, not_read)


def _verdict(traced: Floats, logged: Floats, allowed: Floats) -> str:
    """Whether at most of the checkpoints the traced loss is above, or below, what the run can have had."""
    if np.mean(traced > logged + allowed) > 0.5:
        return "above"
    return "below" if np.mean(traced < logged - allowed) > 0.5 else "alike"


def _words(verdict: str, log: TrainingLog, found: list[tuple[int, float, float, float]]) -> str:
    step, traced, logged, _ = max(found, key=lambda at: abs(at[1] - at[2]))
    where = f"{log.path.name} ({log.column}) says {logged:.3g}"
    if verdict == "alike":
        return (
            f"the traced mean loss agrees with {log.path.name} ({log.column}), within what minibatches and "
            "augmentation can explain"
        )
    text = f"the traced mean loss is {traced:.3g} at checkpoint {step:,}, where {where}"
    if verdict == "above":
        return (
            f"{text}. Augmentation and dropout make the logged loss the larger one: labels, their order, "
            "normalisation, the loss or the data are not those of training, or BatchNorm's stored statistics are stale"
        )
    return f"{text}. Augmentation, dropout, label smoothing or mixup in training would do that"

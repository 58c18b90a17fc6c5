"""The traced mean loss against the training loss that the run logged itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opsigcli.checkpoints.training_log import TrainingLog
    from opsigcli.records import Floats, Ints

ABOVE = 0.25  # of the logged loss, and
LEAST = 0.1  # nats: a traced loss above it by more than both is not that of the run
NOISE = 4.0  # standard errors of the logged mean, which is over a few minibatches
NEAREST = 5  # logged losses that one checkpoint is held against, at most


@dataclass(frozen=True)
class AgainstLog:
    """Both losses at the checkpoints that the log covers."""

    file: str
    steps: Ints  # (K,)
    traced: Floats  # (K,) nats, mean over the examples
    logged: Floats  # (K,) nats, mean of the nearest logged losses
    allowed: Floats  # (K,) how far above the logged loss a traced one may be

    @property
    def above(self) -> bool:
        """At most of the checkpoints the traced loss is above what the run can have had."""
        return bool(np.mean(self.traced > self.logged + self.allowed) > 0.5)

    @property
    def below(self) -> bool:
        """At most of the checkpoints it is as far below."""
        return bool(np.mean(self.traced < self.logged - self.allowed) > 0.5)

    @property
    def words(self) -> str:
        """What the comparison says; "" where the two agree."""
        if not (self.above or self.below):
            return ""
        worst = int(np.argmax(np.abs(self.traced - self.logged)))
        text = (
            f"the traced mean loss is {self.traced[worst]:.3g} at step {int(self.steps[worst]):,}, where "
            f"{self.file} says {self.logged[worst]:.3g}"
        )
        if self.above:
            return (
                f"{text}. Augmentation and dropout make the logged loss the larger one: labels, their order, "
                "normalisation, the loss or the data are not those of training, or BatchNorm's stored statistics "
                "are stale"
            )
        return f"{text}. Augmentation, dropout, label smoothing or mixup in training would do that"


def against_log(steps: Ints, mean_losses: Floats, log: TrainingLog) -> AgainstLog | None:
    """Hold the traced mean losses against a log; None where no checkpoint lies within it.

    A checkpoint is compared with the mean of the up to five logged losses nearest to its step, within one usual
    distance of logged steps, or of checkpoints if that is larger. Logged losses are of minibatches: their standard
    error is allowed for, four times; where training still moves fast it contains that movement.

    Args:
        steps: (T,) of the checkpoints.
        mean_losses: (T,) nats; NaN = not measured.
        log: what the run logged.
    """
    usual = max(
        float(np.median(np.diff(each))) if len(each) > 1 else 1.0 for each in (log.steps, np.asarray(steps))
    )
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
        return None
    at, traced_at, logged_at, allowed = (np.array(column) for column in zip(*found, strict=True))
    return AgainstLog(log.path.name, at, traced_at, logged_at, allowed)

"""How long the gradient that made a step is, beside those of the mean loss: that of a summed one is longer.

A rule that divides by its own second moments makes nearly the same step of any multiple of a loss, so that states and
weights confirm it; the Hessian of the mean loss is then held against moments of the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuning import Tuning
from opsigcli.sharpness_records import StepCheck
from opsigcli.stability.far_check import DRAWS, PLAIN, SMALLEST, SQUARED
from opsigcli.stability.state_replay import BUFFER
from opsigcli.stability.step_causes import cosine, least_squares, norm
from opsigcli.stability.updates import State, Updates

PARALLEL = 1e-3  # relative error of a gradient that is a multiple of another
OTHER = 0.01  # from 1: a multiple that is not the loss itself


@dataclass(frozen=True)
class GradientLength:
    """Holds the length of one step's gradient against the run's.

    Attributes:
        run: the run, opened.
        updates: from its weights.
        batch: examples that make a step; None is all of them, or not known.
        seed: of batches.
    """

    run: StoredRun
    updates: Updates
    batch: int | None
    seed: int

    def against(self, row: int, tuning: Tuning, made: Tensor, whole: Tensor) -> str:
        """What speaks against the mean loss; "" where nothing does. May load the weights of the row anew.

        Args:
            row: of the trace.
            tuning: how the parameters were updated there.
            made: the gradient that the states imply (P,).
            whole: that of the mean loss of all examples (P,).
        """
        (times,), error = least_squares(made, [whole])
        if error <= PARALLEL and times > 0:
            if abs(times - 1) <= OTHER:
                return ""
            n = self.updates.objective.n
            kind = f", as the sum over all {n:,} examples is" if abs(times / n - 1) <= OTHER else ""
            clipped = ", or by gradients that were clipped to that share" if times < 1 else ""
            return (
                f"the weights moved as by a loss that is {times:.4g} times the mean{kind}{clipped}: "
                f"{_instead(tuning, f'{times:.4g}')}"
            )
        times = self._times(row, made, whole)
        if times <= SQUARED:
            return ""
        amount = f"{self.batch:,}" if self.batch else "the number of examples in a batch"
        return (
            f"the gradient that the optimizer's states imply is {times:.3g} times as long as those of random batches: "
            f"a loss that is summed over examples does that, and {_instead(tuning, amount)}"
        )

    def told_by_rate(
        self, row: int, tuning: Tuning, state: State, step: Tensor, found: StepCheck
    ) -> StepCheck | None:
        """The verdict where a rate that was given makes the step with the state of a multiple of the mean loss.

        Such a rate is that on the mean loss. None where it does not make the step of all examples.
        """
        times = (tuning.lr or math.nan) / (float(self.run.lrs[row]) or math.nan)
        plain = {part.name for part in tuning.parts} <= PLAIN.keys()
        if not math.isfinite(times) or abs(times - 1) <= OTHER or not plain:
            return None
        on_mean = {key: value / times if key.endswith(BUFFER) else value for key, value in state.items()}
        self.run.load(row)
        made = self.updates.make(row, tuning, on_mean).step
        error = norm(step - made) / norm(step)
        if error > (found.bound or 0.0):
            return None
        said = f"the step is the rule's on all examples, with the state of a loss that is {times:.4g} times the mean"
        return replace(found, reason=said, relative_error=error, cosine=cosine(step, made), whole=True)

    def _times(self, row: int, made: Tensor, whole: Tensor) -> float:
        """Over the longest of random batches; of so few examples, where nobody says how many, that most are shorter."""
        length, longest = norm(made), norm(whole)
        if not math.isfinite(length) or length <= SQUARED * longest:
            return 0.0
        small = min(self.batch or SMALLEST, self.updates.objective.n)
        for draw in range(DRAWS):
            self.run.load(row)
            longest = max(longest, norm(self.updates.make(row, None, {}, small, self.seed + draw).gradient))
        self.run.load(row)
        return length / longest if longest else math.inf


def _instead(tuning: Tuning, times: str) -> str:
    """What holds for a loss so many times the mean."""
    if any(part.rule.preconditions for part in tuning.parts):
        return f"the ratio to its threshold is {times} times the one of the mean loss"
    return f"the learning rate on the mean loss is {times} times that given (--lr)"

"""Whether checkpoints many steps apart lie within what the steps between them can do, on the mean loss.

No step of such a run can be made again. But k steps of a rule that has no preconditioner go no farther than
``k η gain G``, with G the root mean square of the gradient's norm over batches at either end, and a momentum is no
longer than ``gain G``: a loss that is summed over examples, or another learning rate, goes beyond. Small runs on the
mean loss (gradient descent, momentum and SGD, below the edge and at it, 5 to 100 steps apart) came to 0.8 times that at
most; with summed losses the medians of as many runs were 1.2 to 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from opsigcli.checkpoints.manifest import Manifest
from opsigcli.optimizers.base import Hyper
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuning import Tuning
from opsigcli.sharpness_records import CONTRADICTED, UNTOLD, StepCheck
from opsigcli.stability.state_replay import updates_between
from opsigcli.stability.step_causes import norm
from opsigcli.stability.step_limits import hindrance
from opsigcli.stability.updates import Updates

LIMIT = 2.0  # times as far as steps can go: gradients between two checkpoints may be larger than at both
# The same of second moments, which remember the longest gradients of all: runs of Adam and RMSprop on the mean loss
# came to .3, and one of RMSprop with momentum, past its edge, to 2.1; on a summed loss to 9.
SQUARED = 5.0
DRAWS = 8  # batches
SMALLEST = 4  # examples in a batch, where nobody says how many: smaller ones have longer gradients
# Rule to the power of 1 − β by which its momentum is longer than a gradient.
PLAIN = {"gd": 0, "sgd": 0, "momentum": 1, "nesterov": 1, "dampened": 0}
AVERAGING = ("adam", "adamw", "adamw_hf", "nadam", "radam")  # whose momentum is a mean of gradients
# Second moments by their key -> the share of them that a step leaves.
SQUARES: dict[str, Callable[[Hyper], float]] = {
    "exp_avg_sq": lambda hyper: float(hyper["betas"][1]),
    "square_avg": lambda hyper: float(hyper["alpha"]),
}
# A sum (Adagrad's) forgets nothing, and a spike of the first steps stands in it for good: only what it gained between
# two checkpoints is looked at. That came to .7 on the mean loss (2.1 in batches of one), to 6 to 32 on a summed one.
SUMMED, SUM = ("adagrad",), "sum"
FROM_ONE = ("rmsproptf",)  # whose second moments start at 1
FORGOTTEN = 0.1  # of second moments that may be of what was before the first checkpoint, or of first steps
MOMENTA = ("momentum_buffer", "exp_avg")


@dataclass(frozen=True)
class _Place:
    """A checkpoint, as far as steps from it are bounded."""

    weights: float  # ‖θ‖
    gradient: float  # G, root mean square over batches, or of all examples where those are larger


class FarCheck:
    """Holds movement and momenta of a run against what its rule does on the mean loss.

    Args:
        run: the run, opened.
        updates: from its weights.
        manifest: of its folder.
        batch: examples that make a step; None is all of them, or not known.
        whole: all of them do, as somebody says.
        seed: of batches.
    """

    def __init__(
        self,
        run: StoredRun,
        updates: Updates,
        manifest: Manifest | None,
        batch: int | None,
        whole: bool,
        seed: int,
    ) -> None:
        self.run, self.updates, self.batch, self.whole, self.seed = run, updates, batch, whole, seed
        self.hindrance = hindrance(run, manifest, whole=True)
        self._places: dict[int, _Place] = {}

    def check(self, row: int, at: Callable[[int], Tuning], why: str) -> StepCheck:
        """The check at a checkpoint from which no step can be made again; leaves other weights loaded.

        Args:
            row: of the trace.
            at: how the parameters were updated at a row, with the optimizer's state.
            why: no step can be.
        """
        if self.hindrance:
            return StepCheck(UNTOLD, self.hindrance)
        tuning = at(row)
        rules = {part.name for part in tuning.parts}
        squares = {part.rule.second_moment for part in tuning.parts} <= {*SQUARES} and rules.isdisjoint(
            FROM_ONE
        )
        remembered = rules <= PLAIN.keys() or rules <= {*AVERAGING}
        sums = rules <= {*SUMMED}
        if not rules or not (remembered or squares or sums) or not tuning.lr:
            return StepCheck(UNTOLD, why)
        moved = self._moved(row, tuning) if rules <= PLAIN.keys() else None
        held = self._held(row, tuning) if remembered else None
        squared = self._gained(row, at) if sums else self._squared(row, tuning) if squares else None
        # A single step is that of one batch, which nothing averages.
        near = row + 1 < len(self.run.steps) and int(self.run.steps[row + 1] - self.run.steps[row]) == 1
        told = {
            "moved": (moved, SQUARED if near else LIMIT),
            "held": (held, LIMIT),
            "squared": (squared, SQUARED),
        }
        known = {what: (reach, limit) for what, (reach, limit) in told.items() if reach is not None}
        if not known:
            return StepCheck(UNTOLD, why)
        what, (found, limit) = max(known.items(), key=lambda item: item[1][0] / item[1][1])
        if found <= limit:
            within = "the weights moved no farther than its steps can" if moved is not None else ""
            return StepCheck(UNTOLD, "; ".join(filter(None, (why, within))), reach=found)
        said = self._farther(row, tuning, found) if what == "moved" else self._longer(tuning, found, what)
        return StepCheck(CONTRADICTED, said, reach=found)

    def _moved(self, row: int, tuning: Tuning) -> float | None:
        """Movement to the next checkpoint over the most that its steps can; None where nothing counts them."""
        steps = self.run.steps
        if row + 1 >= len(steps) or not self.run.run.axis.counts_updates:
            return None
        self.run.load(row)
        start = self.updates.weights()
        self.run.load(row + 1)
        far = norm(self.updates.weights() - start)
        return far / (
            int(steps[row + 1] - steps[row]) * self._length(tuning, self._rate(row, tuning), row, row + 1)
        )

    def _held(self, row: int, tuning: Tuning) -> float | None:
        """Length of the checkpoint's momentum over the most that gradients make it; None where it holds none."""
        pieces = [
            piece
            for part in tuning.parts
            for name in part.parameters
            for key in MOMENTA
            if torch.is_tensor(piece := tuning.state.get(name, {}).get(key)) and piece.is_floating_point()
        ]
        if not pieces or tuning.unusable or tuning.estimated:
            return None
        length = math.sqrt(sum(norm(piece.reshape(-1)) ** 2 for piece in pieces))
        given, own = tuning.lr or math.nan, float(self.run.lrs[row])
        if tuning.parts[0].name in PLAIN and math.isfinite(own):  # of a loss, or a rate, n times as large
            length *= own / given
        return length / self._length(tuning, 1.0, *([row - 1, row] if row else [row]))

    def _squared(self, row: int, tuning: Tuning) -> float | None:
        """Root of the mean square of past gradients' norms, as second moments have it, over the longest gradient.

        None where there are none, or where they still remember the first checkpoint that was traced and all before.
        """
        steps = self.run.steps
        if tuning.unusable or tuning.estimated or not self.run.run.axis.counts_updates:
            return None
        total = 0.0
        for part in tuning.parts:
            key, hyper = part.rule.second_moment, part.rule.settle(part.hyper)
            if SQUARES[key](hyper) ** int(steps[row] - steps[0]) > FORGOTTEN:
                return None
            for name in part.parameters:
                piece = tuning.state.get(name, {}).get(key)
                if not torch.is_tensor(piece) or not piece.is_floating_point():
                    return None
                total += float(piece.double().sum())
        return math.sqrt(total) / self._length(tuning, 1.0, *range(row + 1))

    def _gained(self, row: int, at: Callable[[int], Tuning]) -> float | None:
        """The same of the squares that a sum gained to the next checkpoint, or from the one before the last.

        None where a checkpoint holds no such sums, or the optimizer does not count its updates.
        """
        first = row if row + 1 < len(self.run.steps) else row - 1
        if first < 0:
            return None
        ends = [at(first), at(first + 1)]
        updates = updates_between(*ends)
        if not updates or updates < 1 or any(end.unusable or end.estimated for end in ends):
            return None
        totals = []
        for end in ends:
            pieces = [p for entry in end.state.values() if torch.is_tensor(p := entry.get(SUM))]
            if not pieces or len(pieces) < len(end.state):
                return None
            totals.append(sum(float(piece.double().sum()) for piece in pieces))
        gained = max(totals[1] - totals[0], 0.0) / updates
        return math.sqrt(gained) / self._length(ends[0], 1.0, first, first + 1)

    def _length(self, tuning: Tuning, rate: float, *rows: int) -> float:
        """How long a step at this rate is at most, at the checkpoint where it is longest."""
        places = [self._place(row) for row in rows]
        gradient = max(place.gradient for place in places)
        longest = 0.0
        for part in tuning.parts:
            hyper = part.rule.settle(part.hyper)
            gain = (1 - float(hyper.get("momentum", 0.0))) ** -PLAIN.get(part.name, 0)
            decay = float(hyper.get("weight_decay", 0.0)) * max(place.weights for place in places)
            longest = max(longest, gain * (gradient + decay))
        return rate * longest or math.inf

    def _rate(self, row: int, tuning: Tuning) -> float:
        """The learning rate; the largest of the run, where it is that of the checkpoints and no other was given."""
        given, own = tuning.lr or math.nan, np.asarray(self.run.lrs, dtype=np.float64)
        same = math.isclose(given, float(own[row]), rel_tol=1e-6)
        return max(given, float(np.nanmax(own))) if same else given

    def _place(self, row: int) -> _Place:
        if row not in self._places:
            self.run.load(row)
            weights = norm(self.updates.weights())
            size = norm(self.updates.make(row, None, {}).gradient)
            small = min(self.batch or SMALLEST, self.updates.objective.n)
            squares = []
            for draw in range(0 if self.whole else DRAWS):
                self.run.load(row)
                squares.append(norm(self.updates.make(row, None, {}, small, self.seed + draw).gradient) ** 2)
            self._places[row] = _Place(weights, max(size, math.sqrt(sum(squares) / max(len(squares), 1))))
        return self._places[row]

    def _farther(self, row: int, tuning: Tuning, times: float) -> str:
        rate = self._rate(row, tuning)
        apart = int(self.run.steps[row + 1] - self.run.steps[row])
        way = "one step" if apart == 1 else f"{apart:,} steps"
        return (
            f"in {way} to the next checkpoint the weights moved {times:.2g} times as far as steps at lr "
            f"{rate:.4g} can on the mean loss: {self._summed(rate)}; or the learning rate was larger in between"
        )

    def _longer(self, tuning: Tuning, times: float, what: str) -> str:
        said = (
            f"the momentum in the checkpoint is {times:.2g} times as long as the mean loss makes it"
            if what == "held"
            else f"the second moments in the checkpoint are of gradients {times:.2g} times as long as the mean loss's"
        )
        if tuning.parts[0].name in PLAIN:
            return f"{said}: {self._summed(tuning.lr or math.nan)}"
        return (
            f"{said}: a loss that is summed over examples does that, and the ratio is then too small by as many times "
            "as there are examples in a batch"
        )

    def _summed(self, rate: float) -> str:
        amount = self.batch or (self.updates.objective.n if self.whole else None)
        over = f"the {amount:,} examples of a step" if amount else "the examples of a batch"
        give = f"--lr {rate * amount:.4g}" if amount else f"--lr {rate:.4g} times their number"
        return f"a loss that is summed over {over} does that (then give {give}, the rate on the mean)"

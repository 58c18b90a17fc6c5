"""Second moments where a checkpoint has none, estimated from gradients of batches of the run's size."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.runs.tuning import Tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from opsigcli.runs.stored_run import StoredRun

AVERAGES = ("exp_avg_sq", "square_avg")  # state keys of rules that average squared gradients over steps
BATCHES = 32  # random ones at each checkpoint
EARLIER = 12  # checkpoints that the average goes back over, at most
SPAN = 3.0  # times 1 / (1 − β₂): how far back it goes
LONG = 10**9  # steps, after which no bias of the averages is left to correct
UNKNOWN = (
    "the checkpoint has no second moments, and they can be estimated only of a run with minibatches of known size: "
    "--minibatch N"
)


class VirtualMoments:
    """``v = Σ_s β₂^(t − s) E[g_B(s)²] / Σ_s β₂^(t − s)``, from random batches B of the run's size at checkpoints s ≤ t.

    Between checkpoints the mean square is taken to change evenly, and before the first one to be what it is there. Of
    full batches nothing is estimated: v would hang on single gradients, which pass through 0.

    On a run of AdamW whose own v is there, preconditioned sharpness came out at .91 to 1.00 of that with it
    (``tests/stability/test_virtual_moments.py`` holds it to a factor of 3).

    Args:
        run: opened.
        positions: (n,) examples to draw from.
        batch: examples per update; None where it is not known, or all.
        seed: of the draws.
    """

    def __init__(self, run: StoredRun, positions: NDArray[np.int64], batch: int | None, seed: int) -> None:
        self.run, self.positions, self.seed = run, positions, seed
        self.batch = None if batch is None or batch >= len(positions) else batch
        self._squares: dict[int, dict[str, Tensor]] = {}  # by row of the trace

    def complete(self, tuning: Tuning, row: int) -> Tuning:
        """The tuning of checkpoint ``row``, which is loaded then, with second moments for all that lack one.

        Raises:
            CheckpointError: an earlier checkpoint cannot be read.
            ModelError: its weights do not fit.
        """
        lacking = [
            (part, name)
            for part in tuning.parts
            if part.rule.preconditions and part.rule.second_moment in AVERAGES
            for name in part.parameters
            if not tuning.state.get(name)
        ]
        if not lacking or not self.run.steps[row]:  # before the first update there are none
            return tuning
        if self.batch is None:
            return replace(tuning, unusable=tuning.unusable or UNKNOWN)
        state = dict(tuning.state)
        weights: dict[float, dict[int, float]] = {}
        for part, name in lacking:
            decay = float(part.hyper["betas"][1] if "betas" in part.hyper else part.hyper["alpha"])
            if decay not in weights:
                weights[decay] = self._weights(row, decay)
                self._measure([*weights[decay]], row)
            moment = sum(w * self._squares[at][name] for at, w in weights[decay].items())
            state[name] = {part.rule.second_moment: moment, "step": LONG}
        used = max(len(one) for one in weights.values())
        words = f"second moments estimated from {BATCHES} batches of {self.batch} at {used} checkpoints up to there"
        return replace(tuning, state=state, unusable="", estimated=words)

    def _weights(self, row: int, decay: float) -> dict[int, float]:
        """How much the mean square at each checkpoint counts; they add up to 1."""
        each = -(-len(self.positions) // (self.batch or 1)) if self.run.run.unit == "epoch" else 1
        steps, rate = [step * each for step in self.run.steps], -math.log(min(max(decay, 1e-6), 1 - 1e-9))
        reach = SPAN / rate
        rows = [at for at in range(row + 1) if steps[row] - steps[at] <= reach]
        if len(rows) > EARLIER:
            rows = sorted({rows[round(i * (len(rows) - 1) / (EARLIER - 1))] for i in range(EARLIER)})
        age = {at: float(steps[row] - steps[at]) * rate for at in rows}  # in units of the average's span
        found = dict.fromkeys(rows, 0.0)
        found[rows[0]] += math.exp(-age[rows[0]]) - math.exp(
            -float(steps[row]) * rate
        )  # all before it, from step 0
        for one, two in itertools.pairwise(rows):
            width = age[one] - age[two]
            mass = math.exp(-age[two]) - math.exp(-age[one])
            # ∫ of the share of the older end, falling evenly from 1 to 0, under the kernel
            older = (
                (math.exp(-age[two]) * -math.expm1(-width) / width - math.exp(-age[one])) if width else 0.0
            )
            found[one] += older
            found[two] += mass - older
        whole = sum(found.values())
        return {at: w / whole for at, w in found.items()} if whole > 0 else {row: 1.0}

    def _measure(self, rows: list[int], row: int) -> None:
        """Mean squares at checkpoints that have none yet; ``row`` is loaded afterwards."""
        new = [at for at in rows if at not in self._squares]
        for at in new:
            self.run.load(at)
            self._squares[at] = self._mean_squares()
        if new and new[-1] != row:
            self.run.load(row)

    def _mean_squares(self) -> dict[str, Tensor]:
        """``E[g_B²]`` of each parameter at the weights that are loaded, over batches drawn without replacement."""
        objective, rng = self.run.objective, np.random.default_rng([self.seed, self.batch or 0])
        found: dict[str, Tensor] = {}
        for _ in range(BATCHES):
            drawn = np.sort(rng.choice(self.positions, self.batch, replace=False))
            gradient = objective.mean_loss_and_gradient(drawn)[1]
            for name, g in zip(objective.parameter_names, gradient, strict=True):
                square = g.detach().cpu().double().square() / BATCHES
                found[name] = found[name] + square if name in found else square
        return found

"""The step check: whether the weights confirm the rule whose threshold is given.

Where the next checkpoint is one optimizer step away, the step made, ``Δ = θ(t+1) − θ(t)``, is held against the step
``Δ̂`` that the assumed rule makes from θ(t), with the optimizer's state there, on all examples; where that is not it and
both checkpoints hold states, against the step of the gradient that the states imply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from opsigcli.errors import CheckpointError, ModelError, ObjectiveError, UsageError
from opsigcli.optimizers.base import Batch
from opsigcli.runs.build_optimizer import state_of
from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuning import Tuning
from opsigcli.sharpness_records import CONFIRMED, CONTRADICTED, OTHER_GRADIENT, UNTOLD, StepCheck
from opsigcli.stability.far_check import FarCheck
from opsigcli.stability.gradient_length import GradientLength
from opsigcli.stability.state_verdict import WORD, WORD_BLIND, StateCheck
from opsigcli.stability.step_causes import Assumed, Cause, cosine, find_cause, norm
from opsigcli.stability.step_directions import assumed_of, more_directions
from opsigcli.stability.step_limits import LAST, drawing, hindrance, keeps_state, manifest_of
from opsigcli.stability.step_null import StepNull
from opsigcli.stability.step_rounding import bound_of, rounding_of
from opsigcli.stability.updates import State, Update, Updates

UNMADE = (CheckpointError, ModelError, ObjectiveError, UsageError)  # why no step is made again
COARSE = 0.1  # of the step lost to the rounding of stored weights leaves nothing to compare
SILENT = 1e-4  # of the root mean square of the gradient: less is rounding, which Adam makes a step of
NEARLY = 0.05  # an error up to here that nothing explains is that of arithmetic with fewer bits
OTHER_DATA = ("other data or normalisation", "augmentation, label smoothing or SAM", "dropout", "clipping")


class StepChecker:
    """Checks steps between neighbouring checkpoints.

    Args:
        run: the run, opened.
        optimizer: that is assumed.
        minibatch: examples in a batch of the run, as given; None as the run says.
        seed: of random batches.
    """

    def __init__(self, run: StoredRun, optimizer: RunOptimizer, minibatch: int | None, seed: int) -> None:
        self.run, self.seed = run, seed
        self.objective, self.updates = run.objective, Updates(run)
        self.manifest = manifest_of(Path(run.run.checkpoints))
        batch = minibatch or run.run.batch_size
        self.batch = batch if batch is not None and batch < self.objective.n else None
        rule = optimizer.rule
        says = self.manifest is not None and self.manifest.steps > 0 and self.manifest.batch_size is None
        # All examples made each step, as somebody says.
        self.whole = self.batch is None and (says or (rule is not None and rule.batch is Batch.FULL))
        self.random = drawing(self.objective.model)
        self.far = FarCheck(run, self.updates, self.manifest, self.batch, self.whole, seed)

    def check(self, row: int, tuning: Callable[[int], Tuning]) -> StepCheck:
        """The check of the step from checkpoint ``row`` of the trace, which is loaded; leaves other weights loaded.

        Args:
            row: of the trace.
            tuning: how the parameters were updated at a row, with the optimizer's state; may load other weights.
        """
        steps = self.run.steps
        if row + 1 >= len(steps):
            return self._far(row, tuning, LAST)
        apart = int(steps[row + 1] - steps[row])
        if apart != 1:
            why = f"the next checkpoint is {apart:,} {self.run.run.axis.many} away, not one"
            return self._far(row, tuning, why)
        if why := hindrance(self.run, self.manifest, whole=self.whole):
            return self._far(row, tuning, why)
        try:
            own = tuning(row)
            self.run.load(row)
            return self._check(row, own, tuning)
        except (
            UNMADE
        ) as error:  # some rules make no step without the run's loop, some models put out more in training
            return StepCheck(UNTOLD, error.message)

    def _far(self, row: int, at: Callable[[int], Tuning], why: str) -> StepCheck:
        """What movement and momentum tell where no step can be made again."""
        try:
            return self.far.check(row, at, why)
        except UNMADE as error:
            return StepCheck(UNTOLD, error.message)

    def _check(self, row: int, tuning: Tuning, at: Callable[[int], Tuning]) -> StepCheck:
        start = self.updates.weights()
        known = bool(tuning.parts)
        state: State = state_of(tuning, self.objective)
        if known and not state and keeps_state(tuning) and self.run.steps[row] > 0:
            state = self.updates.momentum(tuning, self.updates.previous(row, start), row)
            self.run.load(row)
            if not state:
                return self._without_state(row, tuning, start)
        update = self.updates.make(row, tuning if known else None, state)
        self.run.load(row + 1)
        end = self.updates.weights()
        step = end - start
        size = norm(step)
        if not size or not math.isfinite(size):
            return StepCheck(UNTOLD, "the weights did not move" if size == 0 else "weights are not finite")
        rounding = rounding_of(start, end)
        bound = bound_of(rounding)
        if rounding > COARSE:
            reason = f"rounding of the stored weights alone is {rounding:.0%} of the step"
            return StepCheck(UNTOLD, reason, bound=bound)
        if not known:
            cause = self._fit(row, start, step, update, bound)
            word = tuning.reason.removeprefix("no threshold: ") or "optimizer or learning rate are not known"
            if cause is not None:
                return StepCheck(
                    UNTOLD, f"{word}; the step is that of {cause.text}: give these", cause.error, bound=bound
                )
            return StepCheck(UNTOLD, word, bound=bound)
        loud = self._loud(tuning, update)
        error = norm(loud * (step - update.step)) / (norm(loud * step) or math.inf)
        found = StepCheck(CONFIRMED, "", error, cosine(loud * step, loud * update.step), bound)
        if error <= bound:
            return replace(found, reason="the step is the rule's on all examples", whole=True)
        lengths = GradientLength(self.run, self.updates, self.batch, self.seed)
        if verdict := lengths.told_by_rate(row, tuning, state, step, found):
            return verdict
        states = StateCheck(self.updates, row, tuning, start, step, update.gradient, found)
        first = self.run.steps[row] == 0 and keeps_state(tuning)  # whose state is empty
        if (state or first) and (verdict := self._of_state(states, at, state, update)):
            return verdict
        if self.batch is not None:
            return self._of_batches(row, tuning, state, start, step, update, found)
        verdict = self._explained(
            row, tuning, loud * start, loud * step, replace(update, step=loud * update.step), state, found
        )
        if self.whole or verdict.verdict != UNTOLD:
            return verdict
        far = self._far(row, at, verdict.reason)  # a batch's step may be of a sum
        return far if far.verdict == CONTRADICTED else verdict

    def _loud(self, tuning: Tuning, update: Update) -> Tensor:
        """1 for weights whose step says something, 0 where a rule divides a gradient that is rounding by its size."""
        if not any(part.rule.preconditions for part in tuning.parts):
            return torch.ones_like(update.step)
        limit = SILENT * norm(update.gradient) / math.sqrt(len(update.gradient))
        return (update.gradient.abs() > limit).to(update.step)

    def _of_state(
        self, states: StateCheck, at: Callable[[int], Tuning], state: State, update: Update
    ) -> StepCheck | None:
        """The verdict by the states of both checkpoints; None where they do not tell."""
        row, tuning, found = states.row, states.tuning, states.found
        if self.batch is not None and (verdict := self._drawn(row, tuning, state, states.step, found)):
            return verdict
        after = at(row + 1)
        self.run.load(row)
        verdict, again = states.of_rule(after)
        if again is None:
            return verdict
        if words := GradientLength(self.run, self.updates, self.batch, self.seed).against(
            row, tuning, again.gradient, update.gradient
        ):
            return replace(found, verdict=CONTRADICTED, reason=words)
        extra = more_directions(self.updates, row, states.start, update, state)
        if self.batch is None:
            directions = {"rule": update.step, "gradient": update.gradient, "weights": states.start} | extra
            cause, _ = find_cause(
                states.step, directions, assumed_of(tuning), self.updates.sizes(), found.bound or 0.0
            )
            words = cause.text if cause is not None else states.of_gradient(again, extra)
            if words:
                return replace(found, verdict=CONTRADICTED, reason=f"the weights moved as by {words}")
        self.run.load(row)
        if words := states.of_quiet(again):
            return replace(found, verdict=CONTRADICTED, reason=words)
        blind = states.blind(after)
        if self.batch is not None:
            return states.of_batches(again, self.batch, self.seed, blind=blind)
        likely = ", ".join(
            OTHER_DATA if self.whole else ("minibatches (--minibatch N tests them)", *OTHER_DATA)
        )
        said = (
            f"{WORD_BLIND if blind else WORD}; {OTHER_GRADIENT} (cosine "
            f"{cosine(again.gradient, update.gradient):.3f}): likely {likely}"
        )
        if self.whole and not self.random:
            return replace(found, verdict=CONTRADICTED, reason=said)
        if note := states.unseen(blind=blind):
            return replace(found, verdict=UNTOLD, reason=f"{said}; they do not tell all: {note}")
        close = cosine(states.step, again.step)
        return replace(found, reason=said, relative_error=again.error, cosine=close)

    def _fit(self, row: int, start: Tensor, step: Tensor, update: Update, bound: float) -> Cause | None:
        """The rule of gradient descent and its kin that makes the step, told from weights and gradients alone."""
        directions = {"gradient": update.gradient, "weights": start}
        previous = self.updates.previous(row, start)
        if previous is not None:
            directions["previous"] = previous
            directions["before"] = self.updates.make(row - 1, None, {}).gradient
        cause, _ = find_cause(step, directions, Assumed("", math.nan), self.updates.sizes(), bound)
        return cause

    def _without_state(self, row: int, tuning: Tuning, start: Tensor) -> StepCheck:
        """The verdict where a rule keeps a state and the checkpoint holds none."""
        part = tuning.parts[0]
        rule, settled = part.rule, part.rule.settle(part.hyper)
        update = self.updates.make(row, None, {})
        self.run.load(row + 1)
        step = self.updates.weights() - start
        size = norm(step)
        bound = bound_of(rounding_of(start, start + step)) if size and math.isfinite(size) else None
        cause = self._fit(row, start, step, update, bound) if bound and self.batch is None else None
        if cause is None:
            return StepCheck(UNTOLD, f"the checkpoint has no state of {rule.name}, which its step depends on")
        same = cause.rule == rule.name and all(
            math.isclose(one, other, rel_tol=0.02)
            for one, other in ((cause.lr, settled["lr"]), (cause.momentum, settled.get("momentum", 0.0)))
        )
        text = f"the weights moved as by {cause.text}"
        return StepCheck(CONFIRMED if same else CONTRADICTED, text, cause.error, bound=bound)

    def _explained(
        self,
        row: int,
        tuning: Tuning,
        start: Tensor,
        step: Tensor,
        update: Update,
        state: State,
        found: StepCheck,
    ) -> StepCheck:
        """The verdict on a step that is not the rule's on all examples."""
        bound, assumed = found.bound or 0.0, assumed_of(tuning)
        directions = {"rule": update.step, "gradient": update.gradient, "weights": start}
        directions |= more_directions(self.updates, row, start, update, state)
        cause, signs = find_cause(step, directions, assumed, self.updates.sizes(), bound)
        if cause is not None:
            return replace(found, verdict=CONTRADICTED, reason=f"the weights moved as by {cause.text}")
        off = f"the step is off by {found.relative_error:.2g} (cosine {found.cosine:.3f})"
        if found.relative_error is not None and found.relative_error <= NEARLY:
            reason = f"{off}, in no direction that names a cause: arithmetic with fewer bits (bf16, TF32) does that"
            return replace(found, verdict=UNTOLD, reason=reason)
        if self.random:
            reason = (
                f"{off}; the model draws at random in training ({self.random}), so that no step is made twice"
            )
            return replace(found, verdict=UNTOLD, reason="; ".join([reason, *signs]))
        causes = [*OTHER_DATA, "another optimizer, or a state that is not this checkpoint's"]
        batches = "minibatches (--minibatch N tests them)"
        causes = [*causes, "minibatches"] if self.whole else [batches, *causes]
        updates = self.run.run.axis.counts_updates
        if not updates:
            causes.insert(0, f"checkpoints that are one {self.run.run.axis.one} apart, not an update")
        reason = "; ".join([off, *signs, f"likely: {', '.join(causes)}"])
        sure = self.whole and updates
        return replace(found, verdict=CONTRADICTED if sure else UNTOLD, reason=reason)

    def _of_batches(
        self,
        row: int,
        tuning: Tuning,
        state: State,
        start: Tensor,
        step: Tensor,
        update: Update,
        found: StepCheck,
    ) -> StepCheck:
        """The verdict on a step that one batch made: by the batch that ``opsig train`` drew, or by random ones."""
        if verdict := self._drawn(row, tuning, state, step, found):
            return verdict
        null = StepNull(
            step, update.step, update.gradient, start, self.updates.sizes(), self.objective.parameter_names
        )
        for draw in range(null.draws):
            self.run.load(row)
            null.add(self.updates.make(row, tuning, state, self.batch, self.seed + 1 + draw).step)
        against, said = null.verdict(tuning.lr or math.nan)
        tested = f"{'; '.join(said)}. Tested against {null.draws} random batches of {self.batch:,}"
        return replace(found, verdict=CONTRADICTED if against else UNTOLD, reason=tested)

    def _drawn(
        self, row: int, tuning: Tuning, state: State, step: Tensor, found: StepCheck
    ) -> StepCheck | None:
        """The verdict by the batch that ``opsig train`` drew; None where it is not that one's step."""
        if self.manifest is None or not self.manifest.steps:
            return None
        self.run.load(row)
        drawn = self.updates.make(row, tuning, state, self.batch, self.manifest.seed or 0).step
        error = norm(step - drawn) / norm(step)
        if error > (found.bound or 0.0):
            return None
        reason = f"the step is the rule's on the {self.batch:,} examples that opsig train drew"
        return StepCheck(CONFIRMED, reason, error, cosine(step, drawn), found.bound)

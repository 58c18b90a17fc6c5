"""The step check: whether the weights confirm the rule whose threshold is given.

Where the next checkpoint is one optimizer step away, the step made, ``Δ = θ(t+1) − θ(t)``, is held against the step
``Δ̂`` that the assumed rule makes from θ(t), with the optimizer's state there, on all examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opsigcli.checkpoints.manifest import Manifest, read_manifest
from opsigcli.errors import CheckpointError, ModelError, UsageError
from opsigcli.objective.batch_norm import batch_norms
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Batch
from opsigcli.options import EXAMPLE_WEIGHTS
from opsigcli.runs.build_optimizer import build_optimizer, state_of
from opsigcli.runs.run_optimizer import RunOptimizer, Tuning
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.trainer import Trainer
from opsigcli.sharpness_records import StepCheck
from opsigcli.stability.step_causes import Assumed, Cause, cosine, find_cause, norm
from opsigcli.stability.step_null import StepNull

if TYPE_CHECKING:
    from opsigcli.records import Floats

CONFIRMED, CONTRADICTED, UNTOLD = "confirmed", "contradicted", "cannot be told"

# Steps of GD, momentum, Nesterov, dampened momentum, Adam, AdamW and RMSprop (MLP and CNN, with BatchNorm and without,
# of opsig train and of plain torch, the first steps and the 600th) were off by 1e-7 to 3e-5, the first of Adam by 4e-4.
BOUND = 1e-3  # relative error of a confirmed step, beside rounding
ROUNDINGS = 4.0  # times the expected rounding error may be had
HEAVY = ("momentum", "nesterov", "dampened", "sgdw")  # rules without any other state than their momentum
COARSE = 0.1  # of the step lost to the rounding of stored weights leaves nothing to compare
SILENT = (
    1e-4  # of the root mean square of the gradient: what is smaller is rounding, which Adam makes a step of
)
NEARLY = 0.05  # an error up to here that nothing explains is that of arithmetic with fewer bits
BATCH_BYTES = 4 << 30  # that statistics of all examples together may keep


@dataclass(frozen=True)
class _Update:
    """One update of the assumed rule from the weights that are loaded."""

    step: Tensor  # (P,) θ̂ − θ
    gradient: Tensor  # (P,)


class StepChecker:
    """Checks steps between neighbouring checkpoints.

    Args:
        run: the run, opened.
        optimizer: that is assumed.
        minibatch: examples in a batch of the run, as given; None as the run says.
        seed: of random batches.
    """

    def __init__(self, run: StoredRun, optimizer: RunOptimizer, minibatch: int | None, seed: int) -> None:
        self.run, self.optimizer, self.seed = run, optimizer, seed
        self.objective = run.objective
        self.manifest = _manifest(Path(run.run.checkpoints))
        batch = minibatch or run.run.batch_size
        self.batch = batch if batch is not None and batch < self.objective.n else None
        rule = optimizer.rule
        told = self.manifest is not None and self.manifest.steps > 0 and self.manifest.batch_size is None
        # All examples made each step, as somebody says.
        self.whole = self.batch is None and (told or (rule is not None and rule.batch is Batch.FULL))
        self.weights = self._example_weights()
        self.random = [m for m in self.objective.model.modules() if _draws(m)]

    def check(self, row: int, tuning: Callable[[], Tuning]) -> StepCheck:
        """The check of the step from checkpoint ``row`` of the trace, which is loaded; leaves other weights loaded.

        Args:
            row: of the trace.
            tuning: how the parameters were updated there, with the optimizer's state.
        """
        steps = self.run.steps
        if row + 1 >= len(steps):
            return StepCheck(UNTOLD, "it is the last checkpoint")
        apart = int(steps[row + 1] - steps[row])
        if apart != 1:
            return StepCheck(
                UNTOLD, f"the next checkpoint is {apart:,} {self.run.run.axis.many} away, not one"
            )
        if why := self._hindered():
            return StepCheck(UNTOLD, why)
        try:
            return self._check(row, tuning())
        except (
            CheckpointError,
            ModelError,
            UsageError,
        ) as error:  # some rules make no step without the run's loop
            return StepCheck(UNTOLD, error.message)

    def _hindered(self) -> str:
        """Why no step of this run can be checked, without looking at one; "" where it can."""
        run, manifest = self.run.run, self.manifest
        if manifest is not None and manifest.fingerprint not in ("", run.fingerprint):
            return "the examples are not those that the run was trained on, by their fingerprint"
        if "examples" in run.transform:
            return f"the trace is of a subset of the examples ({run.transform['examples']})"
        if not run.axis.counts_updates and not self.whole:
            by = run.axis.one
            return (
                f"checkpoints are told apart by their {by}, and nothing says that they are one update apart"
            )
        if batch_norms(self.objective.model):
            needed = self._batch_bytes()
            if needed > BATCH_BYTES:
                return f"BatchNorm over all examples at once would keep {needed / (1 << 30):.0f} GiB"
        return ""

    def _check(self, row: int, tuning: Tuning) -> StepCheck:
        start = self._weights()
        known = bool(tuning.parts)
        state = state_of(tuning, self.objective)
        if known and not state and _keeps_state(tuning) and self.run.steps[row] > 0:
            state = self._state_from(tuning, self._previous(row, start), row)
            self.run.load(row)
            if not state:
                return self._without_state(row, tuning, start)
        update = self._update(row, tuning if known else None, state)
        self.run.load(row + 1)
        end = self._weights()
        step = end - start
        if any(
            part.rule.preconditions for part in tuning.parts
        ):  # weights whose gradient is rounding move at random
            quiet = update.gradient.abs() <= SILENT * norm(update.gradient) / math.sqrt(len(start))
            step = torch.where(quiet, 0.0, step)
            update = replace(update, step=torch.where(quiet, 0.0, update.step))
            start = torch.where(quiet, 0.0, start)
        size = norm(step)
        if not size or not math.isfinite(size):
            return StepCheck(UNTOLD, "the weights did not move" if size == 0 else "weights are not finite")
        rounding = math.sqrt(2) * _rounding(start, end) / size
        bound = BOUND + ROUNDINGS * rounding
        if rounding > COARSE:
            return StepCheck(
                UNTOLD, f"rounding of the stored weights alone is {rounding:.0%} of the step", bound=bound
            )
        if not known:
            cause = self._fit(row, start, step, update, bound)
            word = tuning.reason.removeprefix("no threshold: ") or "optimizer or learning rate are not known"
            if cause is not None:
                return StepCheck(
                    UNTOLD, f"{word}; the step is that of {cause.text}: give these", cause.error, bound=bound
                )
            return StepCheck(UNTOLD, word, bound=bound)
        error = norm(step - update.step) / size
        found = StepCheck(CONFIRMED, "", error, cosine(step, update.step), bound)
        if error <= bound:
            return replace(found, reason="the step is the rule's on all examples")
        if self.batch is not None:
            return self._of_batches(row, tuning, state, start, step, update, found)
        return self._explained(row, tuning, start, step, update, state, found)

    def _fit(self, row: int, start: Tensor, step: Tensor, update: _Update, bound: float) -> Cause | None:
        """The rule of gradient descent and its kin that makes the step, told from weights and gradients alone."""
        directions = {"gradient": update.gradient, "weights": start}
        previous = self._previous(row, start)
        if previous is not None:
            directions["previous"] = previous
            directions["before"] = self._update(row - 1, None, {}).gradient
        cause, _ = find_cause(step, directions, Assumed("", math.nan), self._sizes(), bound)
        return cause

    def _without_state(self, row: int, tuning: Tuning, start: Tensor) -> StepCheck:
        """The verdict where a rule keeps a state and the checkpoint holds none."""
        part = tuning.parts[0]
        rule, settled = part.rule, part.rule.settle(part.hyper)
        update = self._update(row, None, {})
        self.run.load(row + 1)
        step = self._weights() - start
        size = norm(step)
        bound = BOUND + ROUNDINGS * math.sqrt(2) * _rounding(start, step + start) / size if size else BOUND
        cause = self._fit(row, start, step, update, bound) if size and self.batch is None else None
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
        update: _Update,
        state: dict[str, Tensor],
        found: StepCheck,
    ) -> StepCheck:
        """The verdict on a step that is not the rule's on all examples."""
        bound, assumed = found.bound or 0.0, _assumed(tuning)
        directions = {"rule": update.step, "gradient": update.gradient, "weights": start}
        directions |= self._more_directions(row, start, update, state)
        cause, signs = find_cause(step, directions, assumed, self._sizes(), bound)
        if cause is not None:
            return replace(found, verdict=CONTRADICTED, reason=f"the weights moved as by {cause.text}")
        off = f"the step is off by {found.relative_error:.2g} (cosine {found.cosine:.3f})"
        if found.relative_error is not None and found.relative_error <= NEARLY:
            reason = f"{off}, in no direction that names a cause: arithmetic with fewer bits (bf16, TF32) does that"
            return replace(found, verdict=UNTOLD, reason=reason)
        if self.random:
            name = type(self.random[0]).__name__
            reason = f"{off}; the model draws at random in training ({name}), so that no step is made twice"
            return replace(found, verdict=UNTOLD, reason="; ".join([reason, *signs]))
        causes = [
            "other data or normalisation",
            "augmentation, mixup or label smoothing",
            "dropout",
            "another optimizer, or a state that is not this checkpoint's",
        ]
        batches = "minibatches (--minibatch N tests them)"
        causes = [*causes, "minibatches"] if self.whole else [batches, *causes]
        updates = self.run.run.axis.counts_updates
        if not updates:
            causes.insert(0, f"checkpoints that are one {self.run.run.axis.one} apart, not an update")
        reason = "; ".join([off, *signs, f"likely: {', '.join(causes)}"])
        sure = self.whole and updates
        return replace(found, verdict=CONTRADICTED if sure else UNTOLD, reason=reason)

    def _more_directions(
        self, row: int, start: Tensor, update: _Update, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """What only a step that is not the rule's is held against; leaves weights of other checkpoints loaded."""
        found: dict[str, Tensor] = {}
        parts = list(torch.split(start, self._sizes()))
        found["matrices"] = torch.cat(
            [
                x if p.ndim > 1 else torch.zeros_like(x)
                for x, p in zip(parts, self.objective.parameters, strict=True)
            ]
        )
        buffers = [state.get(f"{name}/momentum_buffer") for name in self.objective.parameter_names]
        if all(buffer is not None for buffer in buffers):
            found["buffer"] = torch.cat([b.reshape(-1).to(start) for b in buffers if b is not None])
        if self.objective.loss == "ce" and self.objective.weights is None and self.weights is None:
            self.run.load(row)
            own, self.objective.loss_fn = self.objective.loss_fn, _uniform
            try:
                found["smoothing"] = self._update(row, None, {}).gradient - update.gradient
            finally:
                self.objective.loss_fn = own
        previous = self._previous(row, start)
        if previous is not None:
            found["previous"] = previous
            found["before"] = self._update(row - 1, None, {}).gradient
        return found

    def _of_batches(
        self,
        row: int,
        tuning: Tuning,
        state: dict[str, Tensor],
        start: Tensor,
        step: Tensor,
        update: _Update,
        found: StepCheck,
    ) -> StepCheck:
        """The verdict on a step that one batch made: by the batch that ``opsig train`` drew, or by random ones."""
        bound, size = found.bound or 0.0, norm(step)
        if self.manifest is not None and self.manifest.steps > 0:
            self.run.load(row)
            drawn = self._update(row, tuning, state, self.batch, self.manifest.seed).step
            error = norm(step - drawn) / size
            if error <= bound:
                return StepCheck(
                    CONFIRMED, f"the step is the rule's on the {self.batch:,} examples that opsig train drew",
                    error, cosine(step, drawn), bound,
                )  # fmt: skip
        null = StepNull(
            step, update.step, update.gradient, start, self._sizes(), self.objective.parameter_names
        )
        for draw in range(null.draws):
            self.run.load(row)
            null.add(self._update(row, tuning, state, self.batch, self.seed + 1 + draw).step)
        against, said = null.verdict(tuning.lr or math.nan)
        tested = f"{'; '.join(said)}. Tested against {null.draws} random batches of {self.batch:,}"
        return replace(found, verdict=CONTRADICTED if against else UNTOLD, reason=tested)

    def _update(
        self,
        row: int,
        tuning: Tuning | None,
        state: dict[str, Tensor],
        batch: int | None = None,
        seed: int = 0,
    ) -> _Update:
        """One update from the weights that are loaded; without ``tuning`` the gradient alone.

        Raises:
            CheckpointError: the state is one of another rule.
        """
        objective = self.objective
        start = self._weights()
        made: Any
        if tuning is None:
            made = OPTIMIZERS.load("gd").build(objective.parameters, {"lr": 0.0})
        else:
            made = build_optimizer(tuning, objective)
        weights = self.weights if batch is None else None
        trainer = Trainer(objective, made, batch, seed, weights)
        trainer.restore_state(int(self.run.steps[row]), state)
        try:
            trainer.update()
        except (KeyError, RuntimeError) as error:  # torch takes the state as it is
            if tuning is None or not state:
                raise
            raise CheckpointError(
                f"the checkpoint's optimizer state is not one of {tuning.parts[0].name} ({error})",
                "check --optimizer",
            ) from error
        gradient = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in objective.parameters]
        )
        for parameter in objective.parameters:
            parameter.grad = None
        return _Update(self._weights() - start, gradient)

    def _previous(self, row: int, start: Tensor) -> Tensor | None:
        """The step to this checkpoint, where the one before is one step away; leaves that one loaded."""
        if row == 0 or self.run.steps[row] - self.run.steps[row - 1] != 1:
            return None
        try:
            self.run.load(row - 1)
        except (CheckpointError, ModelError):
            return None
        return start - self._weights()

    def _state_from(self, tuning: Tuning, previous: Tensor | None, row: int) -> dict[str, Tensor]:
        """The momentum buffer that the step before shows, where a checkpoint holds none: ``m = −Δ/η``."""
        before = float(self.run.lrs[row - 1]) if row else math.nan
        rate = before if math.isfinite(before) else tuning.lr
        if (
            previous is None
            or not rate
            or any(part.name not in ("momentum", "dampened") for part in tuning.parts)
        ):
            return {}
        names, parameters = self.objective.parameter_names, self.objective.parameters
        return {
            f"{name}/momentum_buffer": (-part / rate).reshape(parameter.shape)
            for name, part, parameter in zip(
                names, torch.split(previous, self._sizes()), parameters, strict=True
            )
        }

    def _weights(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.objective.parameters])

    def _sizes(self) -> list[int]:
        return [p.numel() for p in self.objective.parameters]

    def _example_weights(self) -> Floats | None:
        """How much each example counted in a run of ``opsig train`` that left some out; None where all count alike."""
        path = Path(self.run.run.checkpoints) / EXAMPLE_WEIGHTS
        try:
            less = json.loads(path.read_text())["weights"]
        except (OSError, ValueError, KeyError):
            return None
        return np.array([less.get(str(i), 1.0) for i in self.run.source.ids.tolist()], dtype=np.float32)

    def _batch_bytes(self) -> float:
        """What a pass of all examples at once keeps for its gradient, from passes of two and of four."""
        kept = []
        for count in (2, 4):
            total = 0

            def pack(tensor: Tensor) -> Tensor:
                nonlocal total
                total += tensor.numel() * tensor.element_size()
                return tensor

            inputs, targets = self.objective.batch(self.objective.counted[:count])
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                self.objective.loss_fn(self.objective.outputs(inputs), targets)
            kept.append(total)
        return (kept[1] - kept[0]) / 2 * self.objective.n


def _keeps_state(tuning: Tuning) -> bool:
    """Whether the step depends on a state; that of a rule whose only state is its momentum does not without any."""
    return any(
        part.rule.keeps_state
        and (part.rule.settle(part.hyper).get("momentum", 0.0) > 0 or part.name not in HEAVY)
        for part in tuning.parts
    )


def _assumed(tuning: Tuning) -> Assumed:
    """What is the same for all parts of a tuning; NaN where they differ."""
    settled = [part.rule.settle(part.hyper) for part in tuning.parts]
    gains, decays = set(), {values.get("weight_decay", 0.0) for values in settled}
    for part, values in zip(tuning.parts, settled, strict=True):
        beta, dampening = values.get("momentum", 0.0), values.get("dampening", 0.0)
        tau = beta if dampening is None else dampening
        gains.add({"nesterov": 1 + beta, "dampened": 1 - tau}.get(part.name, 1.0))
    return Assumed(
        tuning.parts[0].name,
        tuning.lr or math.nan,
        gains.pop() if len(gains) == 1 else math.nan,
        decays.pop() if len(decays) == 1 else math.nan,
        any(part.rule.preconditions for part in tuning.parts),
    )


def _rounding(start: Tensor, end: Tensor) -> float:
    """The expected error of a step from weights that are stored rounded: ``√(Σ ulp(θ)² / 12)``.

    The unit in the last place is that of the narrowest of float16, bfloat16 and float32 that holds all weights.
    """
    digits = 24
    for kind, fewer in ((torch.bfloat16, 8), (torch.float16, 11)):
        if all(torch.equal(x.to(kind).to(x.dtype), x) for x in (start, end)):
            digits = fewer
            break
    exponent = torch.frexp(end.float())[1].double()
    units = torch.where(end == 0, 0.0, torch.exp2(exponent - digits))
    return float((units.square().sum() / 12).sqrt())


def _uniform(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy to labels that are all classes alike, (B,) nats."""
    return (
        -F.log_softmax(outputs, 1).mean(1).flatten(1).mean(1)
        if outputs.ndim > 2
        else -F.log_softmax(outputs, 1).mean(1)
    )


def _draws(module: nn.Module) -> bool:
    """Whether a module draws at random in training."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    rate = vars(module).get("drop_prob", vars(module).get("dropout", 0.0))
    return isinstance(rate, float) and rate > 0


def _manifest(folder: Path) -> Manifest | None:
    """The manifest of a run's folder; None where there is none that can be read."""
    try:
        return read_manifest(folder)
    except CheckpointError:
        return None

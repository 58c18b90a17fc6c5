"""Critical sharpness: curvature along the run's own update, from fewer than ten forward passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from opsigcli.curvature.critical_rate import CriticalRate, critical_rate
from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.runs.build_optimizer import build_optimizer, state_of
from opsigcli.runs.gradients import clipped, further_up
from opsigcli.runs.state_values import alien
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.trainer import Trainer
from opsigcli.runs.tuning import Part, Tuning
from opsigcli.sharpness_records import CriticalSharpness
from opsigcli.stability.measure import Meter
from opsigcli.stability.ratio import plain

NEXT = "next checkpoint"
OPTIMIZER = "optimizer step"
GRADIENT = "gradient"
NONE = "none"  # weights that are not finite
UNKNOWN_LR = 0.1  # where a search along the gradient begins without one
NO_STEP = "no ratio: the learning rate is 0 there, and no step is made"


@dataclass(frozen=True)
class Update:
    """A step Δ from the weights that are loaded, and what the multiple of it that is critical is held against."""

    parts: list[Tensor]  # Δ, one tensor per trainable parameter
    direction: str  # NEXT, OPTIMIZER or GRADIENT
    lr: float | None  # that Δ was made with; None when it is not known
    threshold: float | None  # of 2/η_c; None when it is not known
    ratio_at_one: float | None  # the stability ratio if Δ itself is critical
    penalties: Mapping[str, float] = field(
        default_factory=dict
    )  # L2 coefficients that the run's gradient contains
    reason: str = ""  # why there is no ratio


class CriticalMeter:
    """Measures critical sharpness ``λ_c = 2/η_c`` at the checkpoints of a run.

    ``η_c = min {η > 0 : L(θ − ηu) > L(θ)}`` with u the run's update per unit of learning rate: the difference to the
    next checkpoint where that is one step away, else the step that the optimizer would make on all examples with the
    state in the checkpoint, else the gradient. L is the mean loss, with the L2 penalty where the update contains its
    gradient. To second order ``λ_c = uᵀHu / gᵀu``. For gradient descent that is a mean of the Hessian's eigenvalues,
    weighted by the gradient's squared parts along them, so it is at most λ₁; for a rule that preconditions with P the
    same holds for P⁻¹H. The update contains momentum too, and a rule that swings along the top eigenvector at its edge
    of stability has ``η = η_c`` there, whatever the rule: the threshold of λ_c along an update is 2/η.

    Args:
        meter: of the run; its examples, optimizer and BatchNorm statistics.

    Reference:
        Kalra et al. 2026, arXiv 2601.16979, section 2.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.run: StoredRun = meter.run
        self.objective, self.parallel = meter.run.objective, meter.parallel
        self._fitted = False

    def measure(self, row: int, step: int, lr: float, following: int | None) -> CriticalSharpness:
        """Critical sharpness at checkpoint ``row`` of the trace.

        Args:
            row: of the trace.
            step: of that checkpoint.
            lr: as stored for it; NaN when unknown.
            following: step of the next checkpoint of the trace.

        Raises:
            CheckpointError: this checkpoint or the next one cannot be read.
            ModelError: the weights do not fit.
            UsageError: a hyper-parameter does not fit the optimizer.
        """
        if not self._fitted:
            self.run.load(row)
            if said := fit_micro_batch(self.objective, self.objective.parameters, twice=False):
                self.run.notes.append(said)
            self._fitted = True
        self.meter.settle_rates()
        averaged = self.run.averaged(row)
        trained = self.meter.movement.moved()
        tuning = self.meter.tuned.at(row, with_state=True)
        self.meter.train(tuning, trained)
        if elsewhere := next((part.name for part in tuning.parts if part.rule.gradient_at is not None), ""):
            tuning = Tuning(reason=f"no ratio along updates of {elsewhere}: leave out --quick")
        one = self.run.run.axis.one_update(step, following)
        moved = self._difference(row) if one and not averaged else None
        self.run.load(row)
        if bad := self.meter.not_finite():
            return CriticalSharpness(step, None, None, None, None, None, NONE, 0, 0, bad, self.run.files[row])
        update = self._made(step, tuning) if moved is None else self._of_run(moved, NEXT, tuning)
        found = self._search(update)
        scale = 2 / update.lr if update.lr else None  # λ_c if the update itself is critical
        return CriticalSharpness(
            step=step,
            critical_sharpness=scale / found.value if scale and found.found else None,
            critical_lr=update.lr * found.value if update.lr and found.found else None,
            threshold=update.threshold,
            ratio=update.ratio_at_one / found.value if update.ratio_at_one and found.found else None,
            error=found.error if math.isfinite(found.error) else None,
            direction=update.direction,
            forward_passes=found.passes,
            gradients=int(moved is None),
            reason="; ".join(reason for reason in (_why(found), update.reason) if reason),
            file=self.run.files[row],
            lr=tuning.lr,
            batch_norm=self.meter.batch_norm,
            examples=len(self.meter.positions) if self.meter.sampled else None,
            settings=tuning.settings,
        )

    def _difference(self, row: int) -> list[Tensor] | None:
        """θ' − θ to the next checkpoint; None where that says nothing about an update. Leaves others loaded."""
        try:
            self.run.load(row + 1)
        except (CheckpointError, ModelError):
            return None
        after = [p.detach().clone() for p in self.objective.parameters]
        self.run.load(row)
        parts = [a.sub_(p.detach()) for a, p in zip(after, self.objective.parameters, strict=True)]
        square = _dot(parts, parts)
        return parts if 0 < square < math.inf else None

    def _of_run(self, parts: list[Tensor], direction: str, tuning: Tuning) -> Update:
        """A step that contains the learning rate and whatever else the rule does; it is critical where η = η_c."""
        lr = tuning.lr or None
        penalties = {name: l2_penalty(part) for part in tuning.parts for name in part.parameters}
        return Update(parts, direction, lr, 2 / lr if lr else None, 1.0, penalties)

    def _made(self, step: int, tuning: Tuning) -> Update:
        """The step of the rule on all examples; the gradient where the rule, its rate or its state is not known."""
        gradient = self._gradient()
        state = state_of(tuning, self.objective)
        kept = any(part.rule.keeps_state for part in tuning.parts)
        steps = all(part.rule.make is not None for part in tuning.parts)
        still = bool(tuning.parts) and all(part.hyper["lr"] == 0 for part in tuning.parts)
        if tuning.parts and steps and not still and (state or not kept or step == 0):
            return self._of_run(self._stepped(tuning, gradient, state, step), OPTIMIZER, tuning)
        pace = tuning.lr or UNKNOWN_LR
        parts = [g.mul_(-pace) for g in gradient]
        if still:  # as where a schedule ends: along no update the loss would neither fall nor rise
            return Update(parts, GRADIENT, pace, None, None, reason=NO_STEP)
        if not tuning.parts or not tuning.lr:
            return Update(
                parts, GRADIENT, pace, None, None, reason=tuning.reason.replace("threshold", "ratio")
            )
        if not plain(tuning) or not steps:
            why = tuning.unusable or "the checkpoint has no state to make a step of the optimizer with"
            why = why if steps else "opsig takes no steps of the optimizer"
            return Update(parts, GRADIENT, pace, None, None, reason=f"no ratio: {why}")
        threshold = tuning.parts[0].rule.stability_threshold(tuning.parts[0].hyper)
        return Update(parts, GRADIENT, pace, threshold, 2 / pace / threshold)

    def _stepped(
        self, tuning: Tuning, gradient: list[Tensor], state: dict[str, Tensor], step: int
    ) -> list[Tensor]:
        """What an update of the optimizer changes; the weights are afterwards what they were.

        Raises:
            CheckpointError: the state is one of another rule.
        """
        parameters = self.objective.parameters
        with _restored(parameters) as before:
            optimizer = build_optimizer(tuning, self.objective)
            Trainer(self.objective, optimizer, None, 0).restore_state(step, state)
            for p, g in zip(parameters, gradient, strict=True):
                p.grad = g
            with further_up(optimizer) as moved:
                gradient = self._gradient() if moved else gradient
            for p, g in zip(parameters, clipped(gradient, tuning.largest), strict=True):
                p.grad = g
            try:
                optimizer.step()
            except KeyError as error:
                raise alien(tuning.parts[0].name, error) from error
            for p in parameters:
                p.grad = None
            return [p.detach() - b for p, b in zip(parameters, before, strict=True)]

    def _gradient(self) -> list[Tensor]:
        """Of the mean loss, over the examples of all processes."""
        self.objective.settle()
        everything = self.meter.positions
        own = self.parallel.shard(everything)
        if not len(own):
            parts = [torch.zeros_like(p) for p in self.objective.parameters]
        else:
            _, parts = self.objective.mean_loss_and_gradient(own)
        share = self.objective.mass(own) / (self.objective.mass(everything) or 1.0)
        return [self.parallel.all_reduce(g.detach().mul_(share)) for g in parts]

    def _search(self, update: Update) -> CriticalRate:
        """Where along the update the loss is back at its start."""
        parameters = self.objective.parameters
        along = across = 0.0  # of the penalty's first and second derivative
        for name, p, d in zip(self.objective.parameter_names, parameters, update.parts, strict=True):
            if penalty := update.penalties.get(name):
                along, across = along + penalty * _dot([p], [d]), across + penalty * _dot([d], [d])

        with _restored(parameters) as before:

            def loss(s: float) -> float:
                with torch.no_grad():
                    for p, b, d in zip(parameters, before, update.parts, strict=True):
                        p.copy_(b).add_(d, alpha=s)
                return self._mean_loss() + s * along + s * s / 2 * across

            return critical_rate(loss, rounding=torch.finfo(self.objective.dtype).eps)

    @torch.no_grad()
    def _mean_loss(self) -> float:
        """Over the examples of all processes, with BatchNorm's statistics as wanted."""
        objective = self.objective
        objective.settle()
        total = torch.zeros(1, dtype=torch.float64)
        with objective.statistics():
            for inputs, targets in objective.batches(self.parallel.shard(self.meter.positions)):
                total += objective.loss_fn(objective.outputs(inputs), targets).double().sum().cpu()
        return float(self.parallel.all_reduce(total)) / (objective.mass(self.meter.positions) or 1.0)


def l2_penalty(part: Part) -> float:
    """The coefficient w of the penalty ``w/2 ‖θ‖²`` whose gradient a rule adds to that of the loss.

    It is what the rule adds to the Hessian, or takes off its threshold. Weight decay that is decoupled adds nothing.
    """
    rule, hyper = part.rule, part.hyper
    if not hyper.get("weight_decay") or rule.limit is None:
        return 0.0
    if rule.preconditions:
        return rule.shift(hyper)
    taken = rule.stability_threshold({**hyper, "weight_decay": 0.0}) - rule.stability_threshold(hyper)
    return float(hyper["weight_decay"]) if math.isclose(taken, hyper["weight_decay"], rel_tol=1e-3) else 0.0


def _why(found: CriticalRate) -> str:
    if found.found:
        return ""
    if found.low == 0:
        return f"not found: the loss rises from the start, already at {found.high:.2g} of the update"
    if found.high == math.inf:
        return f"not found: the loss still falls at {found.low:.3g} times the update"
    return "not found: the loss changes too little along the update for its precision; that is --precision float64"


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return math.fsum(
        float((a.detach().double() * b.detach().double()).sum()) for a, b in zip(first, second, strict=True)
    )


@contextmanager
def _restored(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters' values, which are put back in the end."""
    before = [p.detach().clone() for p in parameters]
    try:
        yield before
    finally:
        with torch.no_grad():
            for p, b in zip(parameters, before, strict=True):
                p.copy_(b)

"""How near a checkpoint is to its optimizer's stability threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.derivatives.coupled import couple
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.derivatives.input_subspace import InputSubspace, find_input_subspace
from opsigcli.errors import UsageError
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.objective.batch_norm import batch_norms
from opsigcli.objective.independence import refuse_coupling
from opsigcli.options import SharpnessOptions
from opsigcli.runs.given_hyper import given_hyper
from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuned_run import TunedRun
from opsigcli.runs.tuning import Tuning
from opsigcli.sharpness_records import UNTOLD, SharpnessPoint, StepCheck
from opsigcli.stability.budget import Budget
from opsigcli.stability.curvature_attribution import require_so_many, subset
from opsigcli.stability.further import Further
from opsigcli.stability.gradient_place import to_gradients
from opsigcli.stability.late_rates import settle_rates
from opsigcli.stability.ratio import Stability, plain, stability
from opsigcli.stability.solver import Solver
from opsigcli.stability.step_check import StepChecker
from opsigcli.stability.unheld import unheld
from opsigcli.stability.virtual_moments import VirtualMoments


@dataclass(frozen=True)
class Measured:
    """One point, and what is too long for it."""

    point: SharpnessPoint
    curvatures: NDArray[np.float32] | None = None  # (n,) v₁ᵀH_i v₁ of each example


class Meter:
    """Measures sharpness and stability at the checkpoints of a run.

    Args:
        run: the run, opened.
        options: of ``opsig sharpness``; its optimizer, lr and momentum override the run's.
        budget: what may be spent.
        parallel: the processes that share the examples.
        mining: groups to look at, or None.

    Raises:
        UsageError: there are not as many examples as are asked for.
    """

    def __init__(
        self,
        run: StoredRun,
        options: SharpnessOptions,
        budget: Budget,
        parallel: DataParallel,
        mining: Mining | None,
    ) -> None:
        self.run, self.options, self.budget = run, options, budget
        self.parallel = parallel
        self.optimizer = RunOptimizer(
            run.run, options.optimizer, given_hyper(options), options.lr_groups, run.lrs
        )
        n = run.objective.n
        require_so_many(n, {"--examples": options.examples, "--minibatch": options.minibatch})
        self.sampled = options.examples is not None and options.examples < n
        self.positions = run.objective.counted
        if self.sampled:
            self.positions = self.positions[subset(options.examples or n, n, options.seed)]
        self.notes: tuple[str, ...] = ()
        self.batch_norm = self._statistics()
        self.tuned = TunedRun(run, self.optimizer, self.positions)
        batch = options.minibatch or run.run.batch_size
        self.moments = VirtualMoments(run, self.positions, batch, options.seed)
        self.movement = self.tuned.movement
        self.solver = Solver(run.objective, options, budget, parallel)
        self.further = Further(run, options, self.solver, self.positions, mining)
        self.steps = StepChecker(run, self.optimizer, options.minibatch, options.seed)
        self._checked = False
        self._settled = False  # whose learning rates a checkpoint has
        self._plain = True  # λ₁ itself is held against the threshold
        self._subspace: InputSubspace | None = None

    def measure(
        self, row: int, step: int, lr: float, following: int | None, spread: bool, tell: Callable[[str], None]
    ) -> Measured:
        """Sharpness and stability at checkpoint ``row`` of the trace.

        Args:
            row: of the trace.
            step: of that checkpoint.
            lr: as stored for it; NaN when unknown.
            following: step of the next checkpoint of the trace.
            spread: measure on other subsets too.
            tell: called with a line about the solver's progress.

        Raises:
            CheckpointError: this checkpoint cannot be read, or its optimizer state belongs to other parameters.
            ModelError: its weights do not fit.
            ObjectiveError: the loss of an example depends on its batch.
            CurvatureError: the model has no second derivatives, or memory is too small.
        """
        self.settle_rates()
        self.run.load(row)
        if bad := self.not_finite():
            return Measured(self._nothing(row, step, lr, bad))
        tuning = to_gradients(self.tuned.at(row), self.run.objective.model)
        self.train(tuning, self.movement.moved())
        self._plain = plain(tuning)
        tuning = self.moments.complete(tuning, row)
        if not self._checked:
            refuse_coupling(self.run.objective, self.run.files[row])
            check_second_derivatives(self.run.objective)
            self._checked = True
            self._subspace = self._find_subspace()
        operator = self.solver.operator(self.positions, self._subspace if self._plain else None)
        spectrum = self.solver.solve(operator, self.options.top, tell)
        spectrum = replace(spectrum, vectors=operator.expand(spectrum.vectors))
        point = self._point(row, step, tuning, operator, spectrum, tell)
        curvatures: NDArray[np.float32] | None = None
        if math.isfinite(point.eigenvalues[0]):
            point, curvatures = self.further.add(
                point,
                row,
                following,
                operator,
                spectrum,
                tell,
                plain=self._plain,
                spread=spread and self.sampled,
            )
        return Measured(replace(point, partial=self.over(), step_check=self.step_check(row)), curvatures)

    def _point(
        self,
        row: int,
        step: int,
        tuning: Tuning,
        operator: HessianOperator,
        spectrum: Spectrum,
        tell: Callable[[str], None],
    ) -> SharpnessPoint:
        """Top eigenvalues and the stability ratio."""
        names = frozenset(self.run.objective.parameter_names)
        if idle := len(names - tuning.parameters) if tuning.parts else 0:
            stable = Stability(
                reason=f"no ratio: measured over all parameters, of which {idle} of {len(names)} do not train; "
                "leave out --all-parameters"
            )
        elif why := unheld(self.run.run, self.run.objective.model):
            stable = Stability(reason=why)
        else:
            stable = stability(
                tuning, spectrum, operator, lambda preconditioned: self.solver.solve(preconditioned, 1, tell)
            )
        return SharpnessPoint(
            step=step,
            eigenvalues=tuple(map(float, spectrum.eigenvalues)),
            residuals=tuple(map(float, spectrum.residuals)),
            converged=spectrum.converged,
            matvecs=spectrum.matvecs + stable.matvecs,
            threshold=stable.threshold,
            ratio=stable.ratio,
            preconditioned=stable.preconditioned,
            reason="; ".join(reason for reason in (spectrum.reason, stable.reason) if reason),
            file=self.run.files[row],
            lr=tuning.lr,
            batch_norm=self.batch_norm,
            estimated=tuning.estimated if stable.preconditioned is not None else "",
            examples=len(self.positions) if self.sampled else None,
            optimizer=", ".join(dict.fromkeys(part.name for part in tuning.parts)),
            units=stable.units,
            parameters=sum(p.numel() for p in self.run.objective.parameters),
            untrained=self.tuned.untrained(),
            notes=(*self.notes, *tuning.notes, *([operator.note] if operator.note else [])),
            settings=tuning.settings,
        )

    def _nothing(self, row: int, step: int, lr: float, reason: str) -> SharpnessPoint:
        """The point of a checkpoint that has no Hessian."""
        return SharpnessPoint(
            step=step,
            eigenvalues=(math.nan,) * self.options.top,
            residuals=(math.nan,) * self.options.top,
            converged=False,
            matvecs=0,
            threshold=None,
            ratio=None,
            reason=reason,
            file=self.run.files[row],
            lr=lr if math.isfinite(lr) else None,
        )

    def not_finite(self) -> str:
        """Why weights that are not finite have no sharpness; "" where all are finite."""
        bad = [
            name
            for name, p in self.run.objective.model.state_dict().items()
            if not bool(torch.isfinite(p).all())
        ]
        if not bad:
            return ""
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f"the weights are not finite ({bad[0]}{more}): the run had diverged, and there is no Hessian"

    def train(self, tuning: Tuning, moved: frozenset[str] | None) -> None:
        """Measure over the parameters that train at this checkpoint; of adapters, over those that they are merged into.

        What a checkpoint of adapters says of its optimizer is of other parameters.
        """
        own = frozenset() if self.run.run.base else tuning.parameters
        names = own or (moved or self.tuned.trainable)
        if self.options.all_parameters:
            names = names | self.tuned.trainable
        if self.tuned.train(names):
            self._checked = False

    def settle_rates(self) -> None:
        """Tell once by which learning rates checkpoints are judged; may leave other weights loaded."""
        if self._settled or self.options.no_step_check or self.sampled or self.over():
            return
        self._settled = True
        settle_rates(self.run, self.tuned, self.steps)

    def step_check(self, row: int) -> StepCheck | None:
        """Whether the weights confirm the rule at checkpoint ``row``; leaves another one loaded."""
        if self.options.no_step_check or self.over() or self.parallel.rank:
            return None
        if self.sampled:
            return StepCheck(
                UNTOLD, "--examples asks for a subset of the examples, and a step is made of all"
            )
        if self.run.averaged(row):
            return StepCheck(UNTOLD, "these weights are a moving average, from which no step starts")
        self.run.load(row)
        return self.steps.check(row, lambda at: self.tuned.at(at, with_state=True))

    def _statistics(self) -> str | None:
        """Which statistics BatchNorm uses, set up; None without BatchNorm.

        For ``batch`` the loss is of random batches as large as memory allows, of one where it can be.

        Raises:
            UsageError: batch was asked for, and there is no BatchNorm, or something else asked for needs examples that
                do not depend on each other.
        """
        objective, asked = self.run.objective, self.options.batch_norm == "batch"
        mode = self.run.batch_norm if batch_norms(objective.model) else None
        if mode != "batch" and not asked:
            return mode
        wrong = {
            "a model with BatchNorm, found none": mode is None,
            "one process, found several": self.parallel.processes > 1,
            "no --per-example and no --groups: the batch's statistics couple the examples": (
                self.options.per_example or self.options.groups
            ),
        }
        for text in (text for text, found in wrong.items() if found):
            if asked:
                raise UsageError(f"expected, for --batch-norm batch, {text}", "leave out --batch-norm")
            why = text.partition(", found")[0].partition(":")[0]
            self.notes = (
                f"BatchNorm's statistics are held fixed; that the sharpness goes through them takes {why}",
            )
            return "re-estimate"
        self.positions, batches = couple(objective, self.positions, self.options.seed)
        if batches > 1:
            self.notes = (
                f"BatchNorm's statistics are those of {batches} random batches: all at once take too much",
            )
        return mode

    def _find_subspace(self) -> InputSubspace | None:
        """Shorter vectors for the first layer, where all products are of the plain Hessian in one process."""
        if self.options.spectrum or self.parallel.processes > 1:
            return None
        return find_input_subspace(self.run.objective, self.positions)

    def over(self) -> bool:
        """The budget is spent, as all processes agree."""
        return self.solver.over()

"""How near a checkpoint is to its optimizer's stability threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.batch_sharpness import batch_sharpness
from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.hvp import HessianOperator, hessian_operator
from opsigcli.derivatives.input_subspace import InputSubspace, find_input_subspace
from opsigcli.errors import UsageError
from opsigcli.objective.batch_norm import batch_norms
from opsigcli.objective.independence import refuse_coupling
from opsigcli.options import SharpnessOptions
from opsigcli.records import Mining
from opsigcli.runs.movement import Movement
from opsigcli.runs.run_optimizer import RunOptimizer, Tuning, given_hyper
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import UNTOLD, HessianSpectrum, SharpnessPoint, StepCheck
from opsigcli.stability.budget import Budget
from opsigcli.stability.curvature_attribution import CurvatureAttribution, concentration, subset
from opsigcli.stability.ratio import Stability, plain, stability
from opsigcli.stability.spectral_density import hessian_spectrum
from opsigcli.stability.step_check import StepChecker

AVERAGED = (
    "no ratio: these weights are a moving average, and no step of the optimizer starts from them; trace the trained "
    "weights with --weights model"
)
SUBSETS = 4  # other subsets that show how much the choice of examples matters


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
        self.parallel, self.mining = parallel, mining
        self.optimizer = RunOptimizer(
            run.run, options.optimizer, given_hyper(options), options.lr_groups, run.lrs
        )
        self.movement = Movement(run)
        self._trainable = frozenset(run.objective.parameter_names)  # as the factory has it
        self._trained: frozenset[str] = self._trainable
        n = run.objective.n
        self.sampled = options.examples is not None and options.examples < n
        self.positions = run.objective.counted
        if self.sampled:
            self.positions = self.positions[subset(options.examples or n, n, options.seed)]
        self.attribution = CurvatureAttribution(run, self.positions, parallel, options.seed)
        self.batch_norm = options.batch_norm if batch_norms(run.objective.model) else None
        if options.batch_norm == "batch":
            self._couple()
        self.steps = StepChecker(run, self.optimizer, options.minibatch, options.seed)
        self._checked = False
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
        moved = self.movement.moved()
        self.run.load(row)
        if bad := self._not_finite():
            return Measured(self._nothing(row, step, lr, bad))
        tuning = self.optimizer.at(
            self.run.path(row),
            self.run.objective.model,
            lr,
            moved,
            self.movement.evidence(row, self._gradient),
        )
        if self.run.averaged(row):
            tuning = Tuning(reason=AVERAGED)
        self._train(tuning, moved)
        self._plain = plain(tuning)
        if not self._checked:
            refuse_coupling(self.run.objective, self.run.files[row])
            check_second_derivatives(self.run.objective)
            self._checked = True
            self._subspace = self._find_subspace()
        operator = self._operator(self.positions, self._subspace if self._plain else None)
        spectrum = self._solve(operator, self.options.top, tell)
        spectrum = replace(spectrum, vectors=operator.expand(spectrum.vectors))
        point = self._point(row, step, tuning, operator, spectrum, tell)
        curvatures: NDArray[np.float32] | None = None
        if math.isfinite(point.eigenvalues[0]):
            point = replace(point, **self._minibatch(point.threshold))
            point = self._by_layer(point, operator, spectrum, tell)
            point, curvatures = self._by_example(point, spectrum)
            if self.options.spectrum and not self.over():
                point = replace(point, spectrum=self._density(operator, spectrum, tell))
            if spread and self.sampled:
                point = replace(point, subsets=tuple(self._other_subsets(tell)))
            if self.options.secant and following is not None and not self.over():
                point = replace(point, secant=self.attribution.secant(row), secant_step=following)
        return Measured(
            replace(point, partial=self.over(), step_check=self._step_check(row, lr, moved)), curvatures
        )

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
        else:
            stable = stability(
                tuning, spectrum, operator, lambda preconditioned: self._solve(preconditioned, 1, tell)
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
            examples=len(self.positions) if self.sampled else None,
            optimizer=", ".join(dict.fromkeys(part.name for part in tuning.parts)),
            units=stable.units,
            parameters=sum(p.numel() for p in self.run.objective.parameters),
            untrained=self._untrained(),
            notes=tuning.notes,
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

    def _not_finite(self) -> str:
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

    def _train(self, tuning: Tuning, moved: frozenset[str] | None) -> None:
        """Measure over the parameters that train at this checkpoint."""
        names = tuning.parameters or (moved or self._trainable)
        if self.options.all_parameters:
            names = names | self._trainable
        if names == self._trained:
            return
        for name, parameter in self.run.objective.model.named_parameters():
            parameter.requires_grad_(name in names)
        self._trained, self._checked = names, False

    def _untrained(self) -> int:
        """Weights that the model's factory lets train and that do not."""
        parameters = dict(self.run.objective.model.named_parameters())
        return sum(parameters[name].numel() for name in self._trainable - self._trained)

    def _gradient(self) -> dict[str, torch.Tensor]:
        """The mean loss's gradient by parameter."""
        objective = self.run.objective
        _, parts = objective.mean_loss_and_gradient(self.positions)
        return {
            name: part.detach().cpu() for name, part in zip(objective.parameter_names, parts, strict=True)
        }

    def _step_check(self, row: int, lr: float, moved: frozenset[str] | None) -> StepCheck | None:
        """Whether the weights confirm the rule at checkpoint ``row``; leaves another one loaded."""
        if self.options.no_step_check or self.over() or self.parallel.rank:
            return None
        if self.sampled:
            return StepCheck(
                UNTOLD, "--examples asks for a subset of the examples, and a step is made of all"
            )
        if self.options.secant:  # which leaves the next one loaded
            self.run.load(row)
        if self.run.averaged(row):
            return StepCheck(UNTOLD, "these weights are a moving average, from which no step starts")

        def tuning(at: int) -> Tuning:
            evidence = self.movement.evidence(at, self._gradient)
            rate = lr if at == row else self.run.lrs[at]
            return self.optimizer.at(
                self.run.path(at), self.run.objective.model, rate, moved, evidence, with_state=True
            )

        return self.steps.check(row, tuning)

    def _by_layer(
        self,
        point: SharpnessPoint,
        operator: HessianOperator,
        spectrum: Spectrum,
        tell: Callable[[str], None],
    ) -> SharpnessPoint:
        """The point with what layers hold of the top eigenvectors, and with ``--layers`` their own eigenvalues."""
        if not self.options.layers or self.over():
            layers, kinds = self.attribution.shares(spectrum)
            return replace(point, layers=layers, kinds=kinds)
        spent = 0

        def solve(block: HessianOperator, which: str) -> Spectrum:
            nonlocal spent
            found = self._solve(block, 1, lambda note: tell(f"{which}, {note}"))
            spent += found.matvecs
            return found

        layers, kinds = self.attribution.layers(operator, spectrum, solve)
        return replace(point, layers=layers, kinds=kinds, matvecs=point.matvecs + spent)

    def _by_example(
        self, point: SharpnessPoint, spectrum: Spectrum
    ) -> tuple[SharpnessPoint, NDArray[np.float32] | None]:
        """The point with how much few examples, and the mined groups, hold of λ₁; and each example's curvature."""
        if not (self.options.per_example or self.options.groups) or self.over():
            return point, None
        curvatures = self.attribution.examples(spectrum)
        point = replace(point, concentration=concentration(curvatures))
        if self.mining is not None:
            point = replace(point, groups=self.attribution.groups(self.mining, spectrum, curvatures))
        return point, curvatures

    def _density(
        self, operator: HessianOperator, spectrum: Spectrum, tell: Callable[[str], None]
    ) -> HessianSpectrum:
        return hessian_spectrum(
            operator,
            GaussNewtonOperator(self.run.objective, self.positions, self.parallel),
            spectrum,
            lambda newton: self._solve(newton, 1, tell),
            self.budget,
            self.over,
            self.options.seed,
            tell,
        )

    def _operator(
        self, positions: NDArray[np.int64], subspace: InputSubspace | None = None
    ) -> HessianOperator:
        return hessian_operator(
            self.run.objective, positions=positions, parallel=self.parallel, subspace=subspace
        )

    def _couple(self) -> None:
        """BatchNorm over all examples together, as a step of full-batch descent saw them.

        Raises:
            UsageError: there is no BatchNorm, or what is asked for needs examples that do not depend on each other.
        """
        wrong = {
            "a model with BatchNorm, found none": self.batch_norm is None,
            "one process, found several": self.parallel.processes > 1,
            "no --per-example and no --groups: the batch's statistics couple the examples": (
                self.options.per_example or self.options.groups
            ),
        }
        for text in (text for text, found in wrong.items() if found):
            raise UsageError(f"expected, for --batch-norm batch, {text}", "leave out --batch-norm")
        self.run.objective.batch_statistics = True
        self.run.objective.batch_size = len(self.positions)

    def _find_subspace(self) -> InputSubspace | None:
        """Shorter vectors for the first layer, where all products are of the plain Hessian in one process."""
        if self.options.spectrum or self.parallel.processes > 1:
            return None
        return find_input_subspace(self.run.objective, self.positions)

    def over(self) -> bool:
        """The budget is spent, as all processes agree."""
        return self.budget.limited and self.parallel.broadcast(bool(self.budget.spent))

    def _minibatch(self, threshold: float | None) -> dict[str, Any]:
        """Batch sharpness, for runs that step along gradients of minibatches."""
        size = self.options.minibatch or self.run.run.batch_size
        if size is None or size >= self.run.objective.n or not self._plain or self.over():
            return {}
        found = batch_sharpness(
            self.run.objective, size, positions=self.positions, seed=self.options.seed, enough=self.over
        )
        self.budget.spend(found.batches * size // len(self.positions))
        ratio = found.mean / threshold if threshold else None
        return {
            "batch_sharpness": found.mean,
            "batch_error": found.error if math.isfinite(found.error) else None,
            "batch_ratio": ratio,
            "batches": found.batches,
        }

    def _other_subsets(self, tell: Callable[[str], None]) -> Iterator[float]:
        """λ₁ on other subsets of the same size."""
        for number in range(1, SUBSETS + 1):
            if self.over():
                return
            objective = self.run.objective
            other = objective.counted[subset(len(self.positions), objective.n, self.options.seed + number)]
            spectrum = self._solve(self._operator(other), 1, tell)
            if spectrum.converged:
                yield float(spectrum.eigenvalues[0])

    def _solve(self, operator: Any, count: int, tell: Callable[[str], None]) -> Spectrum:
        def note(done: int, top: float, rest: float) -> None:
            self.budget.spend()
            tell(f"HVP {done}: {top:.4g}, residual {rest:.1e}")

        return top_eigenvalues(
            operator,
            operator.size,
            count,
            tolerance=self.options.tolerance,
            max_matvecs=self.options.max_matvecs,
            seed=self.options.seed,
            device=self.run.objective.device,
            dtype=self.run.objective.dtype,
            callback=note,
            stop=lambda: f"the budget of {self.options.budget} was spent" if self.over() else "",
        )

"""What is measured at a checkpoint beside the largest eigenvalues and the ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.batch_sharpness import batch_sharpness
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.options import SharpnessOptions
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import HessianSpectrum, SharpnessPoint
from opsigcli.stability.curvature_attribution import CurvatureAttribution, concentration, subset
from opsigcli.stability.solver import Solver
from opsigcli.stability.spectral_density import hessian_spectrum

SUBSETS = 4  # other subsets that show how much the choice of examples matters


class Further:
    """Layers, examples, groups, batches, other subsets, the spectral density and the secant.

    Args:
        run: the run, opened.
        options: of ``opsig sharpness``.
        solver: with what is left to spend.
        positions: of the examples.
        mining: groups to look at, or None.
    """

    def __init__(
        self,
        run: StoredRun,
        options: SharpnessOptions,
        solver: Solver,
        positions: NDArray[np.int64],
        mining: Mining | None,
    ) -> None:
        self.run, self.options, self.solver, self.mining = run, options, solver, mining
        self.positions = positions
        self.attribution = CurvatureAttribution(run, positions, solver.parallel, options.seed)

    def add(
        self,
        point: SharpnessPoint,
        row: int,
        following: int | None,
        operator: HessianOperator,
        spectrum: Spectrum,
        tell: Callable[[str], None],
        *,
        plain: bool,
        spread: bool,
    ) -> tuple[SharpnessPoint, NDArray[np.float32] | None]:
        """The point with all that is asked for, and each example's curvature; may leave other weights loaded.

        Args:
            point: so far.
            row: of the trace, which is loaded.
            following: step of the next checkpoint of the trace.
            operator: the Hessian.
            spectrum: its top, with eigenvectors.
            tell: called with a line about the solver's progress.
            plain: λ₁ itself is held against the threshold.
            spread: measure on other subsets too.
        """
        if plain:
            point = replace(point, **self._minibatch(point.threshold))
        point = self._by_layer(point, operator, spectrum, tell)
        point, curvatures = self._by_example(point, spectrum)
        if self.options.spectrum and not self.over():
            point = replace(point, spectrum=self._density(operator, spectrum, tell))
        if spread:
            point = replace(point, subsets=tuple(self._other_subsets(tell)))
        if self.options.secant and following is not None and not self.over():
            point = replace(point, secant=self.attribution.secant(row), secant_step=following)
        return point, curvatures

    def over(self) -> bool:
        """The budget is spent."""
        return self.solver.over()

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
            found = self.solver.solve(block, 1, lambda note: tell(f"{which}, {note}"))
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
            GaussNewtonOperator(self.run.objective, self.positions, self.solver.parallel),
            spectrum,
            lambda newton: self.solver.solve(newton, 1, tell),
            self.solver.budget,
            self.over,
            self.options.seed,
            tell,
        )

    def _minibatch(self, threshold: float | None) -> dict[str, Any]:
        """Batch sharpness, for runs that step along gradients of minibatches."""
        size = self.options.minibatch or self.run.run.batch_size
        if size is None or size >= self.run.objective.n or self.over():
            return {}
        found = batch_sharpness(
            self.run.objective, size, positions=self.positions, seed=self.options.seed, enough=self.over
        )
        self.solver.budget.spend(found.batches * size // len(self.positions))
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
            spectrum = self.solver.solve(self.solver.operator(other), 1, tell)
            if spectrum.converged:
                yield float(spectrum.eigenvalues[0])

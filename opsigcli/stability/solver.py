"""Eigenvalues of the Hessian at the weights that are loaded, as long as the budget lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.hvp import HessianOperator, hessian_operator
from opsigcli.derivatives.input_subspace import InputSubspace
from opsigcli.objective.base import Objective
from opsigcli.options import SharpnessOptions
from opsigcli.stability.budget import Budget


class Solver:
    """Makes Hessians and solves for their largest eigenvalues.

    Args:
        objective: with the weights loaded.
        options: of ``opsig sharpness``.
        budget: what may be spent.
        parallel: the processes that share the examples.
    """

    def __init__(
        self, objective: Objective, options: SharpnessOptions, budget: Budget, parallel: DataParallel
    ) -> None:
        self.objective, self.options, self.budget, self.parallel = objective, options, budget, parallel

    def over(self) -> bool:
        """The budget is spent, as all processes agree."""
        return self.budget.limited and self.parallel.broadcast(bool(self.budget.spent))

    def operator(
        self, positions: NDArray[np.int64], subspace: InputSubspace | None = None
    ) -> HessianOperator:
        """The Hessian of the mean loss over some examples."""
        return hessian_operator(
            self.objective, positions=positions, parallel=self.parallel, subspace=subspace
        )

    def solve(self, operator: Any, count: int, tell: Callable[[str], None]) -> Spectrum:
        """The largest eigenvalues of an operator; each product is told."""

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
            device=self.objective.device,
            dtype=self.objective.dtype,
            callback=note,
            stop=lambda: f"the budget of {self.options.budget} was spent" if self.over() else "",
        )

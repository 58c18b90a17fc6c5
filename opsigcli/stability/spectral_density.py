"""The whole spectrum at a checkpoint: density, outliers, trace and the Gauss–Newton part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from opsigcli.curvature.density import DEGREE, density, hessian_trace
from opsigcli.curvature.krylov import Matvec
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.sharpness_records import HessianSpectrum
from opsigcli.stability.budget import Budget


def hessian_spectrum(
    operator: HessianOperator,
    newton: GaussNewtonOperator,
    top: Spectrum,
    solve: Callable[[GaussNewtonOperator], Spectrum],
    budget: Budget,
    over: Callable[[], bool],
    seed: int,
    tell: Callable[[str], None],
) -> HessianSpectrum:
    """Density, outliers, Hessian trace, and how much of the top eigenvalue is Gauss–Newton.

    Args:
        operator: the Hessian, on all parameters.
        newton: the Gauss–Newton matrix on the same examples.
        top: the top eigenvalues and vectors of the Hessian.
        solve: finds the largest eigenvalue.
        budget: what products are charged to.
        over: whether it is spent.
        seed: of the random starts.
        tell: called with a line about the progress.
    """
    objective = operator.objective
    where = {"device": objective.device, "dtype": objective.dtype}
    counted = _Counted(operator, budget, tell)
    found = density(
        counted,
        operator.size,
        seed=seed,
        stop=lambda: "over" if over() else "",
        **where,  # type: ignore[arg-type]
    )
    trace = hessian_trace(counted, operator.size, seed=seed, **where)  # type: ignore[arg-type]
    v = top.vectors[0]
    part = float(v.double() @ newton(v).double())
    largest = solve(newton)
    return HessianSpectrum(
        grid=tuple(found.grid.tolist()),
        density=tuple(found.values.tolist()),
        errors=tuple(found.errors.tolist()),
        width=found.width,
        probes=len(found.outliers),
        degree=DEGREE,
        bulk=found.bulk,
        outliers=int(np.median(found.outliers)),
        outliers_range=(min(found.outliers), max(found.outliers)),
        hessian_trace=trace.value,
        trace_error=trace.error,
        gauss_newton=part,
        remainder=float(top.eigenvalues[0]) - part,
        gauss_newton_top=float(largest.eigenvalues[0]),
        matvecs=counted.done + 1 + largest.matvecs,
    )


class _Counted:
    """An operator that counts its products and tells of them."""

    def __init__(self, operator: Matvec, budget: Budget, tell: Callable[[str], None]) -> None:
        self.operator, self.budget, self.tell, self.done = operator, budget, tell, 0

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        self.done += 1
        self.budget.spend()
        self.tell(f"spectrum: HVP {self.done}")
        return self.operator(vector)

"""What an eigenvalue solver returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """The largest algebraic eigenvalues of a symmetric operator, with the evidence for them."""

    eigenvalues: NDArray[np.float64]  # (k,) largest first; NaN where none was found
    residuals: NDArray[np.float64]  # (k,) ‖Av − λv‖ / |λ₁|
    converged: bool  # every value is within the tolerance asked for, as far as the solver can tell
    matvecs: int  # spent
    reason: str = ""  # why not converged
    # (k, P) orthonormal Ritz vectors, to an angle of residual / gap
    vectors: Tensor = field(compare=False, kw_only=True)

"""An orthonormal basis of a Krylov space, and what it knows of the operator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.curvature.basis import Basis
from opsigcli.curvature.missed_eigenvalues import expected_missed
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.errors import CurvatureError

Matvec = Callable[[Tensor], Tensor]

ROUNDING = 10.0  # residuals below this many units of rounding of ‖A‖ cannot get better


class Krylov:
    """An orthonormal basis V (P, m) with ``A V = V H + q cᵀ + E``.

    q is the next basis vector, c the row it will bring, and E what was dropped where a Krylov space was
    exhausted, of which only the norms of the columns are kept. H is kept as it was measured, not as the
    tridiagonal it should be, so that the residuals also show an operator that is noisy or not symmetric.
    """

    def __init__(
        self, matvec: Matvec, size: int, count: int, seed: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.matvec = matvec
        self.count = count
        self.matvecs = 0
        self.closed = 0  # Krylov spaces that were exhausted
        self.restarted = False
        self.norm = 0.0  # largest magnitude of a Ritz value so far, a lower bound of ‖A‖
        self.basis = Basis(size, device, dtype)
        self._generator = torch.Generator().manual_seed(seed)
        self._projected = np.zeros((0, 0))  # H (m, m)
        self._coupling = np.zeros(0)  # c (m,)
        self._dropped = np.zeros(0)  # (m,) norms of the columns of E
        self._beyond: list[float] = []  # β_j, lengths of what each product left
        self._next: Tensor | None = None  # q (P,)
        self._values = np.zeros(0)  # Ritz values, largest first
        self._turn = np.zeros((0, 0))  # their vectors in the basis, as columns

    def expand(self) -> bool:
        """Take q into the basis and multiply it by A; False when the product, or its length, is not finite.

        Raises:
            CurvatureError: the operator returns another shape.
        """
        if self._exhausted():
            self.closed += self.basis.rows > 0
            self._dropped = np.hypot(self._dropped, self._coupling)
            self._coupling = np.zeros_like(self._coupling)
            self._next = self._fresh()
        assert self._next is not None
        self.basis.append(self._next)
        self.matvecs += 1
        product = self.matvec(self.basis.last()).detach()
        if product.shape != self._next.shape:
            raise CurvatureError(
                f"expected an operator that maps {tuple(self._next.shape)} to itself, "
                f"found {tuple(product.shape)}"
            )
        rest = product.to(self._next, copy=True)
        if not math.isfinite(float(torch.linalg.vector_norm(rest))):  # squares may exceed the type, too
            self.basis.rows -= 1
            return False
        rows = self.basis.rows
        self._projected = np.pad(self._projected, (0, 1))
        self._projected[-1, :-1] = self._coupling
        near = self.basis.remove_last(rest)
        others, beyond = self.basis.make_unit(rest)
        self._projected[:, -1] = (near + others).double().cpu().numpy()
        self._coupling = np.pad([beyond], (rows - 1, 0))
        self._dropped = np.append(self._dropped, 0.0)
        self._beyond.append(beyond)
        self._next = rest if beyond > 0 else None
        self._solve()
        return True

    def restart(self, keep: int) -> None:
        """Shrink the basis to the ``keep`` best Ritz vectors; q stays what it is."""
        self.restarted = True
        turn = self._turn[:, :keep]
        self.basis.rotate(turn)
        self._projected = turn.T @ self._projected @ turn
        self._coupling = turn.T @ self._coupling
        self._dropped = np.sqrt(np.square(turn.T) @ np.square(self._dropped))
        self._solve()

    def ritz(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The up to k largest Ritz values and the norms of their residuals."""
        skew, coupled = self._parts()
        return self._values[: self.count], np.sqrt(skew + coupled)

    def measure(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """All Ritz values, the squared parts of the start in their vectors, and the norms of their residuals."""
        residuals = np.abs(self._coupling @ self._turn)
        return self._values, np.square(self._turn[0]), residuals

    def closed_now(self) -> bool:
        """The Krylov space of the start is exhausted."""
        return self.basis.rows > 0 and self._exhausted()

    def errors(self, *, symmetric: bool = False) -> NDArray[np.float64]:
        """Bounds of the errors of the up to k largest Ritz values, where their neighbours are those seen.

        Kato–Temple for a symmetric operator; what the products lack in symmetry counts in full, unless they are to
        be taken for ``symmetric``. No bound is below a unit of rounding.
        """
        skew, coupled = self._parts()
        skew = np.zeros_like(skew) if symmetric else skew
        residuals: NDArray[np.float64] = np.sqrt(skew + coupled)
        if self.restarted or len(self._values) < 2:
            return residuals
        apart = np.abs(self._values[: self.count, None] - self._values[None])
        np.fill_diagonal(apart, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.nan_to_num(coupled / apart.min(axis=1), nan=np.inf)
        found: NDArray[np.float64] = np.minimum(residuals, bounds + np.sqrt(skew))
        return np.maximum(found, self.rounding() / ROUNDING)

    def missed(self, near: float) -> float:
        """How many eigenvalues among the k largest are expected farther than ``near`` from those found."""
        if self.restarted or self.closed or self._exhausted() or self.complete():
            return 0.0
        diagonal = np.diag(self._projected)
        return expected_missed(
            diagonal, np.array(self._beyond), self._values, self.count, near, self.basis.size
        )

    def rounding(self) -> float:
        """What rounding alone leaves of a residual."""
        return ROUNDING * torch.finfo(self.basis.dtype).eps * self.norm

    def complete(self) -> bool:
        return self.basis.rows == self.basis.size  # the basis spans the whole space

    def reached_all(self) -> bool:
        """No equal eigenvalue can hide outside exhausted Krylov spaces.

        One start reaches one eigenvector of each eigenvalue. Once that is all there is to reach, k starts
        find every eigenvalue as often as it can appear among the k largest.
        """
        closed = self.closed + self._exhausted()
        return closed == 0 or closed >= self.count or self.complete()

    def spectrum(self, reason: str) -> Spectrum:
        """What was found so far, padded with NaN where it is less than k."""
        eigenvalues, residuals = np.full((2, self.count), np.nan)
        vectors = torch.zeros(self.count, self.basis.size, device=self.basis.device, dtype=self.basis.dtype)
        if len(self._values):
            values, norms = self.ritz()
            eigenvalues[: len(values)] = values
            residuals[: len(values)] = relative(norms, abs(float(values[0])))
            vectors[: len(values)] = self.basis.combine(self._turn[:, : self.count])
        return Spectrum(eigenvalues, residuals, not reason, self.matvecs, reason, vectors=vectors)

    def _parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The squared residuals, as what the operator lacks in symmetry and what leads out of the basis."""
        turn = self._turn[:, : self.count]
        skew = (self._projected - self._projected.T) / 2
        coupled = np.square(self._coupling @ turn) + np.square(self._dropped) @ np.square(turn)
        return np.square(skew @ turn).sum(axis=0), coupled

    def _exhausted(self) -> bool:
        return bool(np.linalg.norm(self._coupling) <= self.rounding())

    def _solve(self) -> None:
        values, turn = np.linalg.eigh((self._projected + self._projected.T) / 2)
        self._values, self._turn = values[::-1].copy(), turn[:, ::-1].copy()
        self.norm = max(self.norm, float(np.abs(values).max()))

    def _fresh(self) -> Tensor:
        start = torch.randn(self.basis.size, generator=self._generator)
        start = start.to(self.basis.device, self.basis.dtype)
        self.basis.make_unit(start)
        return start


def relative(residuals: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Residuals over |θ₁|; infinite where that is 0."""
    if scale > 0:
        return residuals / scale
    return np.where(residuals > 0, np.inf, 0.0)

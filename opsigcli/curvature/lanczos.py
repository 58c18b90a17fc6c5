"""The largest algebraic eigenvalues of a symmetric operator, by Lanczos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.curvature.basis import Basis
from opsigcli.curvature.missed import expected_missed
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.errors import CurvatureError

Matvec = Callable[[Tensor], Tensor]

# A residual r places an eigenvalue within r²/gap of the Ritz value (Kato–Temple), once everything near it is seen.
# Over random spectra with ten independent eigenvalues in each factor of e, that bound alone stopped with an error
# above the tolerance in one of ten, on a mixture of two; with at most .01 eigenvalues expected to be missed, in one
# of a hundred. Residuals alone are as safe, for one product more.
SAFETY = 2.0
MISSED = 0.01  # expected eigenvalues that were passed over
ROUNDING = 10.0  # residuals below this many units of rounding of ‖A‖ cannot get better


def top_eigenvalues(
    matvec: Matvec,
    size: int,
    count: int,
    *,
    tolerance: float = 1e-3,
    max_matvecs: int = 200,
    max_basis: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, float, float], None] | None = None,
    stop: Callable[[], str] = lambda: "",
) -> Spectrum:
    """The ``count`` largest algebraic eigenvalues λ₁ ≥ … ≥ λ_k of a symmetric operator A, with eigenvectors.

    Rayleigh–Ritz on the Krylov space of a random start: ``VᵀAV = S Θ Sᵀ``, in float64, on a basis V that is
    orthogonalised against all of itself. With residuals ``r_i = ‖A v_i − θ_i v_i‖`` it stops when
    ``min(r_i, r_i² / gap_i) ≤ (tolerance / 2) |θ₁|`` for all k, with the distance to the nearest other Ritz value as
    the gap, and at most .01 eigenvalues among the k largest are expected farther than ``tolerance |θ₁|`` from them
    (see ``expected_missed``). Eigenvalues closer to each other than that are told apart only where the Krylov space
    is exhausted. With a thick restart the residual alone decides, ``r_i ≤ (tolerance / 2) |θ₁|``.

    Memory: (m + 1) vectors of P numbers on ``device`` for m matvecs, or at most ``max_basis`` of them with a
    thick restart (Wu & Simon 2000), which keeps the best half. Where the device has no room for another vector,
    that is its ``max_basis``.

    Args:
        matvec: v (P,) -> A v (P,); must be linear and symmetric, and must not change its argument.
        size: P.
        count: k ≥ 1; at most P eigenvalues are returned.
        tolerance: error aimed at in each eigenvalue, relative to |λ₁|.
        max_matvecs: most products spent.
        max_basis: most basis vectors kept, at least count + 3; None keeps all.
        seed: of the random start, drawn on the CPU so that every device starts alike.
        device: where the vectors live.
        dtype: of the vectors given to ``matvec``.
        callback: called after each product with the products so far, θ₁ and the largest of the k residuals
            relative to |θ₁|.
        stop: asked before each product for a reason to stop with what there is.

    Returns:
        The spectrum. What did not converge is said in ``converged`` and ``reason``, and is never raised.

    Raises:
        CurvatureError: there is nothing to compute, or the operator returns another shape.

    Reference:
        Parlett 1998, The Symmetric Eigenvalue Problem, chapters 10, 11 and 13; Wu & Simon 2000, SIAM J. Matrix
        Anal. Appl. 22(2), section 2.
    """
    if size < 1 or count < 1:
        raise CurvatureError(
            f"expected at least one parameter and one eigenvalue, found {size} parameters and {count} eigenvalues",
            "check that some parameters are trainable, and the number of eigenvalues asked for",
        )
    if max_basis is not None and max_basis < count + 3:
        raise CurvatureError(
            f"expected room for at least {count + 3} basis vectors for {count} eigenvalues, found {max_basis}",
            "ask for fewer eigenvalues or use a device with more memory",
        )
    krylov = Krylov(matvec, size, min(count, size), seed, torch.device(device), dtype)
    reason = ""
    while not reason:
        if reason := stop():
            break
        if krylov.matvecs >= max_matvecs:
            reason = f"{max_matvecs} matvecs did not suffice; allow more matvecs or a larger tolerance"
            break
        if krylov.basis.rows != max_basis and not krylov.basis.reserve():
            max_basis = _room(krylov)
        if krylov.basis.rows == max_basis:
            krylov.restart(krylov.count + (max_basis - krylov.count) // 2)
            krylov.basis.reserve()
        if not krylov.expand():
            reason = f"the operator returned NaN or infinity at matvec {krylov.matvecs}"
            break
        values, residuals = krylov.ritz()
        scale = abs(float(values[0]))
        if callback is not None:
            callback(krylov.matvecs, float(values[0]), float(_relative(residuals, scale).max()))
        if len(values) < krylov.count or not krylov.reached_all():
            continue
        if bool((krylov.errors() <= tolerance / SAFETY * scale).all()):
            if krylov.missed(tolerance * scale) <= MISSED:
                break
        elif bool((residuals <= krylov.rounding()).all()):
            reason = (
                f"the residuals are down to the rounding of {str(dtype).removeprefix('torch.')} in a spectrum of "
                f"magnitude {krylov.norm:.3g}; compute in a wider type or allow a larger tolerance"
            )
        if not reason and krylov.complete():
            reason = "the operator is not symmetric to within the tolerance; is the loss deterministic?"
    return krylov.spectrum(reason)


def _room(krylov: Krylov) -> int:
    """The basis vectors that fit on the device: as many as there are.

    Raises:
        CurvatureError: they are too few to restart with.
    """
    if krylov.basis.rows < krylov.count + 3:
        raise CurvatureError(
            f"not enough memory for {krylov.count + 3} vectors of {krylov.basis.size:,} numbers, "
            f"which {krylov.count} eigenvalues need",
            "ask for fewer eigenvalues (--top) or use a device with more memory",
        )
    return krylov.basis.rows


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
        """Take q into the basis and multiply it by A; False when the product is not finite."""
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
        if not bool(torch.isfinite(rest).all()):
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

    def errors(self) -> NDArray[np.float64]:
        """Bounds of the errors of the up to k largest Ritz values, where their neighbours are those seen.

        Kato–Temple for a symmetric operator; what the products lack in symmetry counts in full. No bound is below
        a unit of rounding.
        """
        residuals = self.ritz()[1]
        if self.restarted or len(self._values) < 2:
            return residuals
        skew, coupled = self._parts()
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
            residuals[: len(values)] = _relative(norms, abs(float(values[0])))
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


def _relative(residuals: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    if scale > 0:
        return residuals / scale
    return np.where(residuals > 0, np.inf, 0.0)

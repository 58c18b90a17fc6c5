"""The largest algebraic eigenvalues of a symmetric operator, by Lanczos."""

from __future__ import annotations

from collections.abc import Callable

import torch

from opsigcli.curvature.krylov import Krylov, Matvec, relative
from opsigcli.curvature.spectrum import Spectrum
from opsigcli.errors import CurvatureError

# A residual r places an eigenvalue within r²/gap of the Ritz value (Kato–Temple), once everything near it is seen.
# Over random spectra with ten independent eigenvalues in each factor of e, that bound alone stopped with an error
# above the tolerance in one of ten, on a mixture of two; with at most .01 eigenvalues expected to be missed, in one
# of a hundred. Residuals alone are as safe, for one product more.
SAFETY = 2.0
MISSED = 0.01  # expected eigenvalues that were passed over


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
            reason = (
                f"the operator returned NaN or infinity at matvec {krylov.matvecs}, or numbers whose squares are too "
                f"large for {str(dtype).removeprefix('torch.')}"
            )
            break
        values, residuals = krylov.ritz()
        scale = abs(float(values[0]))
        if callback is not None:
            callback(krylov.matvecs, float(values[0]), float(relative(residuals, scale).max()))
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
        elif bool((krylov.errors(symmetric=True) <= tolerance / SAFETY * scale).all()):
            reason = (
                f"the products are not symmetric to within the tolerance: the rounding of "
                f"{str(dtype).removeprefix('torch.')} is too coarse for these weights, or the loss is not "
                "deterministic; compute in a wider type or allow a larger tolerance"
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

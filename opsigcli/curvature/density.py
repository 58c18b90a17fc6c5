"""The whole spectrum of a symmetric operator, estimated from random starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.curvature.krylov import Krylov, Matvec

Floats64 = NDArray[np.float64]
Quadrature = tuple[Floats64, Floats64, Floats64]  # nodes, weights and residuals

DEGREE = 40  # matvecs per start
FEWEST = 4  # starts
PRECISION = 0.02  # largest standard error aimed at, relative to the largest density
GRID = 200  # points at which a density is given
CLIP = 5.0  # standard deviations of the bulk beyond which an eigenvalue is an outlier
RESOLVED = 0.1  # largest residual, relative to its distance from the bulk, of a Ritz value that is counted


@dataclass(frozen=True)
class Density:
    """A spectral density with its uncertainty."""

    grid: Floats64  # (G,)
    values: Floats64  # (G,) per unit of eigenvalue; integrates to 1 over the line
    errors: Floats64  # (G,) standard error over probes
    width: float  # standard deviation of the smoothing Gaussian
    bulk: float  # upper edge of the bulk
    outliers: tuple[int, ...]  # (probes,) Ritz values above it
    matvecs: int


@dataclass(frozen=True)
class Trace:
    """An estimate of the trace of an operator."""

    value: float
    error: float  # standard error of its random part
    matvecs: int


def density(
    matvec: Matvec,
    size: int,
    *,
    probes: int = 8,
    degree: int = DEGREE,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    stop: Callable[[], str] = lambda: "",
) -> Density:
    """Spectral density ``φ(λ) = (1/P) Σ_i N(λ; λ_i, σ²)`` of A by stochastic Lanczos quadrature.

    Each random start gives nodes θ_j and weights τ_j² of a Gauss quadrature of the start's spectral measure, whose
    expectation over starts is the density. Outliers are told from the bulk by clipping: the bulk's mean and standard
    deviation, weighted with τ², are computed again without what lies beyond 5 deviations until nothing changes; Ritz
    values above ``mean + 5 deviations`` whose residual is small against their distance from it are counted. Four
    starts are taken, and more until the standard error is 2 % of the largest density: starts in many dimensions agree.

    Args:
        matvec: v (P,) -> A v (P,), symmetric.
        size: P.
        probes: random starts, at most; at least 2 for the errors.
        degree: matvecs per start.
        seed: of the starts.
        device: where the vectors live.
        dtype: of the vectors.
        stop: asked between starts for a reason to stop with those done, once there are two.

    Reference:
        Ubaru, Chen & Saad 2017, SIAM J. Matrix Anal. Appl. 38(4), section 3; Ghorbani, Krishnan & Xiao 2019,
        arXiv 1901.10159, section 2.
    """
    runs: list[Quadrature] = []
    spent = 0
    for probe in range(probes):
        if len(runs) > 1 and (stop() or (len(runs) >= FEWEST and _precise(runs))):
            break
        run, matvecs = _quadrature(matvec, size, degree, seed + probe, torch.device(device), dtype)
        runs.append(run)
        spent += matvecs
    nodes = np.concatenate([run[0] for run in runs])
    weights = np.concatenate([run[1] for run in runs]) / len(runs)
    center, spread = _bulk(nodes, weights)
    bulk = center + CLIP * spread
    grid, width, values, errors = _curve(runs)
    found = tuple(
        int(((theta > bulk) & (residual <= RESOLVED * (theta - center))).sum()) for theta, _, residual in runs
    )
    return Density(grid, values, errors, width, bulk, found, spent)


def _curve(runs: list[Quadrature]) -> tuple[Floats64, float, Floats64, Floats64]:
    """Grid, width of the smoothing, density and its standard error."""
    nodes = np.concatenate([theta for theta, *_ in runs])
    low, high = float(nodes.min()), float(nodes.max())
    width = max((high - low) / 100, 1e-12 * max(abs(low), abs(high)), np.finfo(float).tiny)
    grid = np.linspace(low - 4 * width, high + 4 * width, GRID)
    curves = np.stack([_smooth(grid, theta, tau, width) for theta, tau, _ in runs])
    errors = curves.std(axis=0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.full(GRID, np.nan)
    return grid, width, curves.mean(axis=0), errors


def _precise(runs: list[Quadrature]) -> bool:
    *_, values, errors = _curve(runs)
    return bool(errors.max() <= PRECISION * values.max())


def _quadrature(
    matvec: Matvec, size: int, degree: int, seed: int, device: torch.device, dtype: torch.dtype
) -> tuple[Quadrature, int]:
    """Nodes, weights and residuals from one start."""
    krylov = Krylov(matvec, size, min(degree, size), seed, device, dtype)
    for _ in range(min(degree, size)):
        if krylov.closed_now() or not (krylov.basis.reserve() and krylov.expand()):
            break
    return krylov.measure(), krylov.matvecs


def _bulk(nodes: Floats64, weights: Floats64) -> tuple[float, float]:
    inside = np.ones(len(nodes), dtype=bool)
    while True:
        center = float(np.average(nodes[inside], weights=weights[inside]))
        spread = float(np.sqrt(np.average((nodes[inside] - center) ** 2, weights=weights[inside])))
        clipped = inside & (np.abs(nodes - center) <= CLIP * spread)
        if (clipped == inside).all() or not clipped.any():
            return center, spread
        inside = clipped


def _smooth(grid: Floats64, nodes: Floats64, weights: Floats64, width: float) -> Floats64:
    distance = (grid[:, None] - nodes[None]) / width
    curve: Floats64 = np.exp(-0.5 * distance**2) @ weights / (width * np.sqrt(2 * np.pi))
    return curve


def hessian_trace(
    matvec: Matvec,
    size: int,
    *,
    matvecs: int = 60,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Trace:
    """The trace of A by Hutch++: ``tr(QᵀAQ) + (1/m) Σ_j g_jᵀ(I − QQᵀ) A (I − QQᵀ) g_j``.

    Q spans A's range on a third of the products, which takes the large eigenvalues out of the random part.

    Args:
        matvec: v (P,) -> A v (P,), symmetric.
        size: P.
        matvecs: spent; where 3 P or more, the trace is exact.
        seed: of the random signs.
        device: where the vectors live.
        dtype: of the vectors.

    Reference:
        Meyer, Musco, Musco & Woodruff 2021, Hutch++, arXiv 2010.09649, algorithm 1.
    """
    third = max(matvecs // 3, 2)
    generator = torch.Generator().manual_seed(seed)

    def signs() -> Tensor:
        return (torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8) * 2 - 1).to(device, dtype)

    rank = min(third, size)
    rows = torch.stack([matvec(signs()).detach() for _ in range(rank)])
    basis = torch.linalg.qr(rows.T)[0]  # (P, rank)
    caught = [float(q.double() @ matvec(q).double()) for q in basis.T.contiguous()]
    if rank == size:
        return Trace(sum(caught), 0.0, 2 * rank)
    rest = []
    for _ in range(third):
        g = signs()
        outside = g - basis @ (basis.T @ g)
        rest.append(float(outside.double() @ matvec(outside).double()))
    error = float(np.std(rest, ddof=1) / np.sqrt(third))
    return Trace(sum(caught) + float(np.mean(rest)), error, 2 * rank + third)

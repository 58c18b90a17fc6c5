"""Eigenvalues of operators that are known only through a matvec."""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

SOLVERS = Registry(
    "eigenvalue solver",
    {
        "lanczos": Entry(
            "opsigcli.curvature.lanczos:top_eigenvalues",
            "largest algebraic eigenvalues by Lanczos with full reorthogonalisation",
        ),
    },
)

"""Eigenvalues and spectral densities of operators that are known only through a matvec, and the phases they show."""

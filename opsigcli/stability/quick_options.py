"""Options of ``opsig sharpness`` that ``--quick`` has no use for: they are refused, never ignored."""

from __future__ import annotations

from opsigcli.errors import UsageError
from opsigcli.options import SharpnessOptions

# What needs eigenvectors or Hessian-vector products, or says how to find them.
DEAR = (
    *("top", "tolerance", "max_matvecs", "layers", "per_example", "groups", "secant", "spectrum"),
    *("minibatch", "all_parameters", "no_step_check"),
)


def refuse_useless(options: SharpnessOptions) -> None:
    """Refuse what asks for eigenvectors or Hessian-vector products beside critical sharpness.

    Raises:
        UsageError: such an option is given.
    """
    usual = SharpnessOptions()
    asked = [f"--{name.replace('_', '-')}" for name in DEAR if getattr(options, name) != getattr(usual, name)]
    if asked:
        what = ", ".join(asked)
        raise UsageError(
            f"expected --quick without {what}: it takes losses along the run's own update, and no eigenvectors and no "
            "Hessian-vector products",
            f"leave out {what}, or --quick",
        )
    if options.budget and "hvp" in options.budget.lower():
        raise UsageError(
            f"expected a budget in time with --quick, found {options.budget}: it takes no HVPs",
            "example: opsig sharpness --quick --budget 10m",
        )

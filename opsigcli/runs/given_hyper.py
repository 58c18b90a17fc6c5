"""Hyper-parameters as options give them, and as they are written."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from opsigcli.errors import UsageError
from opsigcli.records import Run

SAME = 1e-6  # relative difference up to which two values are one that was rounded


class GivenHyper(Protocol):
    """The options that say what the run's optimizer was."""

    @property
    def lr(self) -> float | None:
        """Learning rate."""

    @property
    def momentum(self) -> float | None:
        """Momentum."""

    @property
    def weight_decay(self) -> float | None:
        """Weight decay."""

    @property
    def betas(self) -> str | None:
        """β₁,β₂ of Adam's averages."""

    @property
    def eps(self) -> float | None:
        """ε of the preconditioner."""


def given_hyper(options: GivenHyper) -> dict[str, Any]:
    """The hyper-parameters that the options give; None for those they do not.

    Raises:
        UsageError: ``--betas`` is not two numbers.
    """
    return {
        "lr": options.lr,
        "momentum": options.momentum,
        "weight_decay": options.weight_decay,
        "betas": _betas(options.betas) if options.betas is not None else None,
        "eps": options.eps,
    }


def changes(lrs: Sequence[float]) -> bool:
    """Whether learning rates, of which NaN is unknown, differ."""
    known = [lr for lr in lrs if math.isfinite(lr)]
    return bool(known) and max(known) > min(known) * (1 + SAME)


def settings_of(run: Run, lr: float, lrs: Sequence[float]) -> str:
    """What a checkpoint is judged by that has no optimizer of its own: a text that is another where this is.

    Args:
        run: its optimizer and hyper-parameters.
        lr: of the checkpoint; NaN when unknown.
        lrs: of all checkpoints, likewise.
    """
    own = lr if math.isfinite(lr) else None
    return json.dumps([run.optimizer, run.hyper, own, changes(lrs)], sort_keys=True, default=list)


def _betas(text: str) -> tuple[float, float]:
    """β₁ and β₂ from ``0.9,0.95``.

    Raises:
        UsageError: it is not two numbers.
    """
    try:
        first, second = (float(piece) for piece in text.split(","))
    except ValueError:
        raise UsageError(
            f"expected two numbers for --betas, found {text!r}", "example: --betas 0.9,0.95"
        ) from None
    return first, second


def rates_of(text: str) -> dict[str, float]:
    """Learning rates by the number of a group, or by the name of a parameter or of what it lies in.

    Raises:
        UsageError: ``text`` is no list of learning rates.
    """
    found: dict[str, float] = {}
    for number, piece in enumerate(text.split(",")):
        name, _, rate = piece.rpartition("=")
        try:
            found[name.strip() or str(number)] = value = float(rate)
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise UsageError(
                f"expected learning rates for --lr-groups, found {piece!r}",
                "example: --lr-groups 0.1,0.01 (by group, as in the checkpoint) or body=0.1,head=0.01",
            )
    return found


def require_rates(rates: Mapping[str, float], groups: int, names: Collection[str]) -> None:
    """Refuse learning rates that nothing would be updated with.

    Args:
        rates: as ``rates_of`` has them.
        groups: how many parameter groups the checkpoint has.
        names: of all parameters.

    Raises:
        UsageError: a number is of no group, or a name of no parameter.
    """
    for key in rates:
        if (key.isdecimal() and int(key) < groups) or any(_within(name, key) for name in names):
            continue
        held = f"{groups or 'no'} parameter group{'' if groups == 1 else 's'}"
        found = f"a learning rate of group {int(key) + 1}" if key.isdecimal() else repr(key)
        raise UsageError(
            f"expected --lr-groups of a checkpoint with {held}, or names of parameters, found {found}",
            f"name parameters or what they lie in: --lr-groups {next(iter(names))}={rates[key]:g}",
        )


def rate_of(rates: Mapping[str, float], name: str, otherwise: float) -> float:
    """The learning rate that is given for a parameter: by its own name, or by the longest that it lies in."""
    return rates.get(max((key for key in rates if _within(name, key)), key=len, default=""), otherwise)


def _within(name: str, key: str) -> bool:
    """Whether a parameter is named so; a number is a group's, also where modules are called by numbers."""
    return not key.isdecimal() and (name == key or name.startswith(f"{key}."))


def hyper_text(value: Any) -> str:
    """A hyper-parameter as it is written on the command line; the same for values that rounding parts."""
    if isinstance(value, tuple):
        return ",".join(map(hyper_text, value))
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)

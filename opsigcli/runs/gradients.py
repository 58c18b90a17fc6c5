"""Where a rule takes its gradient, and how long it may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opsigcli.optimizers.base import Ascending, norm_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from opsigcli.runs.build_optimizer import SeveralOptimizers


@contextmanager
def further_up(optimizer: torch.optim.Optimizer | SeveralOptimizers) -> Iterator[bool]:
    """The weights at which a rule takes its gradient, where those are others; afterwards those before, to the bit.

    The gradient at the weights as they are has to be in the parameters. Gives whether the weights are others now.
    """
    import torch

    parts = getattr(optimizer, "optimizers", [optimizer])
    moves = [move for part in parts if isinstance(part, Ascending) for move in part.ascent()]
    before = [p.detach().clone() for p, _ in moves]
    try:
        with torch.no_grad():
            for p, ahead in moves:
                p.add_(ahead)
        yield bool(moves)
    finally:
        with torch.no_grad():
            for (p, _), was in zip(moves, before, strict=True):
                p.copy_(was)


def clipped(gradient: Sequence[Tensor], largest: float | None) -> list[Tensor]:
    """``g · min(1, c/‖g‖)``, of all parameters together; g itself for c of None."""
    if largest is None:
        return list(gradient)
    norm = norm_of(gradient)
    return list(gradient) if norm <= largest else [g * (largest / norm) for g in gradient]

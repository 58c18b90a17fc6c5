"""Update rules that ``torch.optim`` has not and that papers write down, for one group of parameters.

All but sign descent look at the gradient of all parameters together.

Reference: Foret et al. 2021, Sharpness-Aware Minimization, algorithm 1; Bernstein et al. 2018, signSGD, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from opsigcli.optimizers.base import norm_of


class Sam(torch.optim.SGD):
    """SGD along the gradient at ``θ + ρ g/‖g‖``, which whoever trains takes there: see ``ascent``."""

    def __init__(self, parameters: Iterable[Tensor], *, rho: float, **hyper: Any) -> None:
        super().__init__(parameters, **hyper)
        for group in (self.defaults, *self.param_groups):
            group.update(rho=rho, adaptive=False)

    @torch.no_grad()
    def ascent(self) -> list[tuple[Tensor, Tensor]]:
        """Each parameter with ``ρ g/‖g‖``, how far it goes from θ before the gradient is taken; 0 where g is."""
        found = _with_gradients(self)
        norm = norm_of(g for _, g in found)
        rho = self.param_groups[0]["rho"]
        return [(p, g * (rho / norm if norm else 0.0)) for p, g in found]


class Signum(torch.optim.Optimizer):
    """``m ← βm + (1 − β)g, θ ← (1 − ηw)θ − η sign(m)``."""

    def __init__(self, parameters: Iterable[Tensor], **hyper: Any) -> None:
        super().__init__(parameters, hyper | {"signed": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        for p, g in _with_gradients(self):
            average = _averaged(self.state[p], g, group["momentum"], 1 - group["momentum"])
            p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(average.sign(), alpha=group["lr"])


class NormalisedGD(torch.optim.Optimizer):
    """``θ ← θ − η g/‖g‖``; no step where g is 0."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "normalised": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        found = _with_gradients(self)
        if norm := norm_of(g for _, g in found):
            for p, g in found:
                p.sub_(g, alpha=self.param_groups[0]["lr"] / norm)


class Split(torch.optim.Optimizer):
    """``m ← βm + (1 − τ)g``; entries of m below the quantile r of their sizes step ``−ηm``, others ``−η₂ sign(m)``."""

    def __init__(self, parameters: Iterable[Tensor], **hyper: Any) -> None:
        super().__init__(parameters, hyper)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        beta, share = group["momentum"], 1 - group["dampening"]
        found = _with_gradients(self)
        if not found:
            return
        averages = [_averaged(self.state[p], g, beta, share) for p, g in found]
        sizes = torch.cat([average.abs().reshape(-1) for average in averages])
        edge = sizes.kthvalue(min(len(sizes), int(group["quantile"] * len(sizes)) + 1)).values
        for (p, _), average in zip(found, averages, strict=True):
            large = self.state[p]["by_sign"] = average.abs() >= edge
            p.sub_(torch.where(large, group["sign_lr"] * average.sign(), group["lr"] * average))


def _averaged(state: dict[str, Any], gradient: Tensor, beta: float, share: float) -> Tensor:
    """``m ← βm + share · g``, from m = 0."""
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = torch.zeros_like(gradient)
    found: Tensor = state["momentum_buffer"].mul_(beta).add_(gradient, alpha=share)
    return found


def _with_gradients(rule: torch.optim.Optimizer) -> list[tuple[Tensor, Tensor]]:
    return [(p, p.grad) for group in rule.param_groups for p in group["params"] if p.grad is not None]

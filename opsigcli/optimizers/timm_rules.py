"""Update rules that timm has and ``torch.optim`` has not, with timm's state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from opsigcli.optimizers.lars import trust_ratio


class SGDW(torch.optim.Optimizer):
    """``θ ← (1 − ηw)θ − ηm`` with ``m ← βm + (1 − τ)g``, or ``g + βm`` in place of m with Nesterov momentum."""

    def __init__(self, parameters: Iterable[Tensor], **hyper: Any) -> None:
        super().__init__(parameters, hyper | {"caution": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group, p in _updated(self):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.sub_(with_momentum(p.grad, self.state[p], group), alpha=group["lr"])


class RMSpropTF(torch.optim.Optimizer):
    """``v ← αv + (1 − α)g², m ← βm + ηg/√(v + ε), θ ← θ − m``, with v from 1; η outside m where it is asked for."""

    def __init__(self, parameters: Iterable[Tensor], **hyper: Any) -> None:
        super().__init__(parameters, hyper)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group, p in _updated(self):
            state, lr, alpha = self.state[p], group["lr"], group["alpha"]
            if not state:
                state["step"], state["square_avg"] = torch.tensor(0.0), torch.ones_like(p)
                if group["momentum"]:
                    state["momentum_buffer"] = torch.zeros_like(p)
                if group["centered"]:
                    state["grad_avg"] = torch.zeros_like(p)
            state["step"] += 1
            if group["decoupled_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
                gradient = p.grad
            else:
                gradient = p.grad + group["weight_decay"] * p
            variance = state["square_avg"].lerp_(gradient.square(), 1 - alpha)
            if group["centered"]:
                variance = variance - state["grad_avg"].lerp_(gradient, 1 - alpha).square()
            update = gradient / (variance + group["eps"]).sqrt()
            inside, outside = (lr, 1.0) if group["lr_in_momentum"] else (1.0, lr)
            update = update * inside
            if group["momentum"]:
                update = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
            p.sub_(update, alpha=outside)


class Lars(torch.optim.Optimizer):
    """SGD along ``r (g + wθ)``, with the trust ratio r of each tensor."""

    def __init__(self, parameters: Iterable[Tensor], **hyper: Any) -> None:
        super().__init__(parameters, hyper)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group, p in _updated(self):
            scaled = (p.grad + group["weight_decay"] * p) * trust_ratio(p, p.grad, group)
            p.sub_(with_momentum(scaled, self.state[p], group), alpha=group["lr"])


def with_momentum(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """What ``torch.optim.SGD`` steps along, in place of the gradient."""
    beta = group["momentum"]
    if not beta:
        return gradient
    if state.get("momentum_buffer") is None:
        state["momentum_buffer"] = gradient.clone()
    else:
        state["momentum_buffer"].mul_(beta).add_(gradient, alpha=1 - group["dampening"])
    buffer: Tensor = state["momentum_buffer"]
    return gradient + beta * buffer if group["nesterov"] else buffer


def _updated(rule: torch.optim.Optimizer) -> Iterable[tuple[dict[str, Any], Any]]:
    return ((group, p) for group in rule.param_groups for p in group["params"] if p.grad is not None)

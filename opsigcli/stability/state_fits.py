"""Hyper-parameters that two neighbouring states of an optimizer tell, whatever the batch between them was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from opsigcli.runs.tuning import Part
from opsigcli.stability.step_causes import least_squares, norm, possible

ADAMS = ("adam", "adamw")
BUFFERED = ("momentum", "dampened", "nesterov", "sgdw")
ROUNDS = 30  # of Gauss and Newton for β₁ and β₂
LIKE = 0.01  # relative difference up to which a value is the one assumed
LIKE_BETA = 0.05  # the same for 1 − β
TINY = [10.0**-power for power in (8, *range(16, 0, -1))]  # ε that are tried, the likeliest first
MOST = 1 << 20  # weights that a relation is sought on
SMALL = 1e-4  # of the largest second moment, below which rounding drowns the relation of both moments


def told(
    part: Part,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    start: Tensor,
    step: Tensor,
    bound: float,
) -> list[str]:
    """The hyper-parameters that make the step of the states, where they are not those assumed; [] where none are found.

    Args:
        part: rule and hyper-parameters that are assumed for these parameters.
        before: state at the checkpoint, one for each parameter.
        after: the same at the next one.
        start: θ (P,).
        step: Δ (P,).
        bound: of the relative error.
    """
    hyper = part.rule.settle(part.hyper)
    if not all(after) or not norm(step):
        return []
    if part.name in ADAMS and not hyper["amsgrad"] and all(before):
        return _adam(part.name, hyper, before, after, start, step, bound)
    if part.name in BUFFERED:
        return _buffered(part.name, hyper, before, after, start, step, bound)
    return []


def moments(
    first: Tensor, second: Tensor, first_after: Tensor, second_after: Tensor
) -> tuple[float, float] | None:
    """β₁ and β₂ of two averages of one unknown sequence of gradients; None where they are none of any.

    With ``g = m + b (m′ − m)``, ``b = 1/(1 − β₁)``, and ``g² = v + a (v′ − v)``, ``a = 1/(1 − β₂)``, every weight gives
    one equation ``(m + b dm)² = v + a dv``.

    Args:
        first: m (P,).
        second: v (P,).
        first_after: m′ (P,).
        second_after: v′ (P,).
    """
    keep = _some(second_after) & (second_after > SMALL * second_after.max())
    m, v, m_after, v_after = (x[keep].double() for x in (first, second, first_after, second_after))
    if len(m) < 8:
        return None
    dm, dv, weight = m_after - m, v_after - v, 1 / v_after
    columns = torch.stack([2 * m * dm, dm * dm, -dv], 1) * weight[:, None]
    scale = columns.norm(dim=0).clamp_min(1e-300)
    b, _, a = (
        torch.linalg.lstsq(columns / scale, ((v - m * m) * weight)[:, None]).solution[:, 0] / scale
    ).tolist()
    for _ in range(ROUNDS):
        rest = ((m + b * dm) ** 2 - v - a * dv) * weight
        slope = torch.stack([2 * (m + b * dm) * dm, -dv], 1) * weight[:, None]
        scale = slope.norm(dim=0).clamp_min(1e-300)
        change = torch.linalg.lstsq(slope / scale, -rest[:, None]).solution[:, 0] / scale
        b, a = b + float(change[0]), a + float(change[1])
    if not (1 <= b < math.inf and 1 <= a < math.inf):
        return None
    rest = ((m + b * dm) ** 2 - v - a * dv) * weight
    size = float((((m + b * dm) ** 2 - v) * weight).norm())
    return (1 - 1 / b, 1 - 1 / a) if float(rest.norm()) <= LIKE * size else None


def _adam(name: str, hyper: Mapping[str, Any], before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]],
          start: Tensor, step: Tensor, bound: float) -> list[str]:  # fmt: skip
    m, v = (_flat(before, key) for key in ("exp_avg", "exp_avg_sq"))
    m_after, v_after = (_flat(after, key) for key in ("exp_avg", "exp_avg_sq"))
    seen_betas = moments(m, v, m_after, v_after)
    if seen_betas is None:
        return []
    assumed = hyper["betas"]
    betas = [x if _like(1 - x, 1 - y, LIKE_BETA) else y for x, y in zip(assumed, seen_betas, strict=True)]
    count = float(after[0].get("step", 0))
    mean = m_after.double() / (1 - betas[0] ** count)
    root = (v_after.double() / (1 - betas[1] ** count)).sqrt()
    made, decaying, few = step.cpu().double(), start.cpu().double(), _some(mean)
    best = math.inf, float(hyper["eps"])
    for eps in dict.fromkeys([hyper["eps"], *TINY]):
        _, error = least_squares(made[few], [_direction(mean[few], root[few], eps), decaying[few]])
        if error < 0.5 * best[0]:  # the assumed one unless another fits much better
            best = error, eps
    eps = best[1]
    (along, decay), error = least_squares(made, [_direction(mean, root, eps), decaying])
    if error > bound or not along < 0:
        return []
    words = [
        f"β{sign} {x:.4g} instead of {y:.4g}"
        for sign, x, y in zip("₁₂", betas, assumed, strict=True)
        if x != y
    ]
    if not _like(-along, hyper["lr"]):
        words.append(f"a learning rate of {-along:.4g} instead of {hyper['lr']:.4g}")
    if eps != hyper["eps"]:
        words.append(f"ε {eps:.0e} instead of {hyper['eps']:.0e}")
    seen, own = decay / along, hyper["weight_decay"] if name == "adamw" else 0.0
    matters = abs(seen - own) * -along * norm(start) > bound * norm(step)
    if matters and possible(weight_decay=seen):
        words.append(f"decoupled weight decay {seen:.3g} instead of {own:.3g}")
    return words


def _buffered(name: str, hyper: Mapping[str, Any], before: Sequence[Mapping[str, Any]],
              after: Sequence[Mapping[str, Any]], start: Tensor, step: Tensor, bound: float) -> list[str]:  # fmt: skip
    new = _flat(after, "momentum_buffer")
    if new is None:
        return []
    made, old = step.cpu(), _flat(before, "momentum_buffer")
    (along,), error = least_squares(made, [new])
    if error <= bound and along < 0:
        plain = name in ("momentum", "dampened") or (name == "sgdw" and not hyper["nesterov"])
        word = [] if plain else ["heavy ball instead of Nesterov momentum"]
        lr = (
            []
            if _like(-along, hyper["lr"])
            else [f"a learning rate of {-along:.4g} instead of {hyper['lr']:.4g}"]
        )
        return word + lr
    if old is not None:
        (newest, oldest), error = least_squares(made, [new, old])
        rate = -(newest + oldest)
        if error <= bound and rate > 0 and possible(momentum=oldest / rate):
            words = [] if name == "nesterov" else ["Nesterov momentum"]
            return [*words, f"a learning rate of {rate:.4g} and momentum {oldest / rate:.3g}"]
    (along, decay), error = least_squares(made, [new, start.cpu()])
    if error <= bound and along < 0 and possible(weight_decay=decay / along):
        return [f"a learning rate of {-along:.4g} with decoupled weight decay {decay / along:.3g}"]
    return []


def _flat(state: Sequence[Mapping[str, Any]], key: str) -> Any:
    """One state of all parameters (P,); None where one has none."""
    pieces = [entry.get(key) for entry in state]
    return (
        torch.cat([p.reshape(-1).float() for p in pieces if p is not None])
        if all(p is not None for p in pieces)
        else None
    )


def _direction(mean: Tensor, root: Tensor, eps: float) -> Tensor:
    return torch.where(root + eps > 0, mean / (root + eps), 0.0)


def _some(values: Tensor) -> Tensor:
    """Which of very many weights a relation is sought on: enough of them, evenly spread."""
    return torch.arange(len(values)) % -(-len(values) // MOST) == 0


def _like(one: float, other: float, tolerance: float = LIKE) -> bool:
    return math.isclose(one, other, rel_tol=tolerance)

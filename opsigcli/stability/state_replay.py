"""A step made again from the gradient that the optimizer's own states imply.

An average of gradients in the state is linear in the newest one, ``m(t+1) = A(m(t)) + k g``, so two neighbouring
states give the gradient g of the batch, whatever batch, loss, augmentation and dropout were. Of that g the rule has to
make the step that the weights made, and everything else in the state: all that is left to be wrong are the rule and its
hyper-parameters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from opsigcli.runs.build_optimizer import state_of
from opsigcli.runs.tuning import Tuning
from opsigcli.stability.step_causes import norm
from opsigcli.stability.step_rounding import bound_of, rounding_of
from opsigcli.stability.updates import State, Updates

AVERAGES = ("exp_avg", "grad_avg")  # of gradients, in any rule
SQUARES = ("square_avg", "sum")  # of rules that keep no average of gradients
BUFFER = "momentum_buffer"  # of gradients, where a rule has nothing of the above
COUNTS = ("step", "mu_product")
LINEAR = 1e-4  # relative error of an average made again, above which it is not linear in the gradient


@dataclass(frozen=True)
class Replay:
    """A step made again."""

    gradient: Tensor  # (P,) that the states imply
    step: Tensor  # (P,) the rule's
    error: float  # ‖Δ − Δ̂‖ / ‖Δ‖
    odd: tuple[str, ...]  # names of states that come out other than they are

    def fits(self, bound: float) -> bool:
        """Whether step and state are the rule's."""
        return self.error <= bound and not self.odd


def updates_between(before: Tuning, after: Tuning) -> int | None:
    """How many updates lie between two checkpoints by the optimizer's own count; None where it has none."""
    found = {
        round(float(entry["step"]) - float(before.state[name]["step"]))
        for name, entry in after.state.items()
        if "step" in entry and "step" in before.state.get(name, {})
    }
    return found.pop() if len(found) == 1 else None


def replay(updates: Updates, before: Tuning, after: Tuning, start: Tensor, step: Tensor) -> Replay | None:
    """The step from θ = ``start`` made again; None where the states imply no gradient. Leaves ``start`` loaded.

    Args:
        updates: of the run.
        before: rule, hyper-parameters and state at the checkpoint.
        after: the same at the next one.
        start: θ (P,).
        step: Δ (P,).

    Raises:
        CheckpointError: the state is one of another rule.
    """
    objective = updates.objective
    names = [name for name in objective.parameter_names if name in before.parameters]
    ends = state_of(after, objective)
    carriers = {name: _carrier(ends, name) for name in names}
    if not names or not all(carriers.values()) or len(names) < len(objective.parameter_names):
        return None
    if any(key in SQUARES for key in carriers.values()):  # which a penalty would be in unseen
        parts = tuple(replace(p, hyper=p.hyper | {"weight_decay": 0.0}) for p in before.parts)
        before = replace(before, parts=parts)
    begins = state_of(before, objective)
    stored = [ends[f"{name}/{carriers[name]}"] for name in names]
    earlier = [
        begins.get(f"{name}/{carriers[name]}", torch.zeros_like(s))
        for name, s in zip(names, stored, strict=True)
    ]
    if _coarse(earlier) or _coarse(stored):
        return None
    still, one = torch.zeros_like(start), torch.ones_like(start)
    probes = [updates.apply(before, begins, start, g)[1] for g in (still, one)]
    pieces = []
    for name, made in zip(names, torch.split(step, updates.sizes()), strict=True):
        key = f"{name}/{carriers[name]}"
        zero, unit = (probe[key].double() for probe in probes)
        lifted = (ends[key].double() - zero) / (unit - zero)
        if carriers[name] in SQUARES:
            lifted = lifted.clamp_min(0).sqrt() * _sign(name, made.reshape(lifted.shape), ends, probes[0])
        pieces.append(lifted.reshape(-1))
    gradient = torch.cat(pieces).to(start)
    if not bool(torch.isfinite(gradient).all()):
        return None
    made, state = updates.apply(before, begins, start, gradient)
    if any(_off(state[f"{n}/{key}"], ends[f"{n}/{key}"]) > LINEAR for n, key in carriers.items()):
        return None
    return Replay(gradient, made, norm(step - made) / norm(step), tuple(_odd(begins, ends, state)))


def _carrier(state: State, name: str) -> str:
    """The state of a parameter that tells the gradient; "" where none does."""
    return next((key for key in (*AVERAGES, *SQUARES, BUFFER) if f"{name}/{key}" in state), "")


def _sign(name: str, step: Tensor, ends: State, still: State) -> Tensor:
    """Of the gradient: the newest part of a momentum buffer goes with it, the step without one against it."""
    key = f"{name}/{BUFFER}"
    return (
        (ends[key] - still[key]).sign().double()
        if key in ends and key in still
        else -step.sign().double().cpu()
    )


def _off(found: Tensor, wanted: Tensor) -> float:
    length = norm(wanted.reshape(-1))
    return norm((found.to(wanted) - wanted).reshape(-1)) / length if length else 0.0


def _coarse(tensors: Collection[Tensor]) -> bool:
    """Whether state is kept in so few bits that differences of it say nothing."""
    whole = [t for t in tensors if bool(t.any())]
    return bool(whole) and any(
        all(torch.equal(t.to(kind).to(t.dtype), t) for t in whole) for kind in (torch.bfloat16, torch.float16)
    )


def _odd(begins: State, ends: State, made: Mapping[str, Any]) -> list[str]:
    """The keys of states, over all parameters, that the rule makes other than they are."""
    found = []
    for key in sorted({place.rpartition("/")[2] for place in ends} - set(COUNTS)):
        places = [place for place in ends if place.rpartition("/")[2] == key and place in made]
        if not places:
            continue
        now, again = (torch.cat([which[p].reshape(-1) for p in places]) for which in (ends, made))
        before = torch.cat([begins.get(p, torch.zeros_like(ends[p])).reshape(-1) for p in places])
        change = norm(now - before)
        if not change:
            same = not norm(again - now)
            found += [] if same else [key]
        elif norm(again - now) / change > bound_of(rounding_of(before, now)) or not math.isfinite(change):
            found.append(key)
    return found

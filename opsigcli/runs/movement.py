"""Which parameters moved along a run, and what that says of the groups they are in."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import pstdev
from typing import TYPE_CHECKING

from opsigcli.errors import CheckpointError, ModelError
from opsigcli.runs.parameter_groups import Assignment
from opsigcli.runs.state_values import average
from opsigcli.runs.trained_run import TrainedRun

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.runs.tuning import Part

CLEAR = 0.2  # by which the mean cosine of steps and averaged gradients must be the better
SLOW = 0.01  # of the learning rate is the least that a rule which preconditions moves some weight
LESS = 0.7  # nats: by which steps must fit learning rates the better


class Movement:
    """The steps between consecutive checkpoints of a run.

    Args:
        run: the run, opened; its model is loaded with other weights when it is asked.
    """

    def __init__(self, run: TrainedRun) -> None:
        self.run = run
        self._found = False
        self._moved: frozenset[str] | None = None

    def moved(self) -> frozenset[str] | None:
        """Names of the parameters that changed between some two checkpoints; None where nothing changed.

        No more checkpoints are read than it takes to see every parameter change.
        """
        if not self._found:
            self._found, self._moved = True, self._look()
        return self._moved

    def _look(self) -> frozenset[str] | None:
        import torch

        found: set[str] = set()
        before: dict[str, Tensor] | None = None
        for row in range(len(self.run.files)):
            now = self._weights(row)
            if now is None:
                continue
            if before is not None:
                found |= {name for name, value in now.items() if not torch.equal(value, before[name])}
                if len(found) == len(now):
                    break
            before = now
        return frozenset(found) or None

    def still(self, row: int) -> frozenset[str]:
        """Names of the parameters that are the same at the next checkpoint, or at the last one as at that before it."""
        step = self.step(min(row + 1, len(self.run.files) - 1))
        return frozenset(name for name, change in (step or {}).items() if not bool(change.any()))

    def step(self, row: int) -> dict[str, Tensor] | None:
        """``θ' − θ`` of each parameter, to checkpoint ``row`` from the one before it, or from the first to the next."""
        near = (row - 1, row) if row > 0 else (row, row + 1)
        if near[1] >= len(self.run.files):
            return None
        before, after = self._weights(near[0]), self._weights(near[1])
        if before is None or after is None:
            return None
        return {name: after[name].double() - before[name].double() for name in after}

    def _weights(self, row: int) -> dict[str, Tensor] | None:
        try:
            self.run.load(row)
        except (CheckpointError, ModelError):
            return None
        return {name: p.detach().cpu().clone() for name, p in self.run.objective.model.named_parameters()}

    def evidence(self, row: int, gradient: Callable[[], dict[str, Tensor]]) -> Callable[..., int | None]:
        """Which of several assignments of parameters to groups the weights speak for (see ``assign``).

        Where the state has averages of gradients, steps go against those of their own parameter. Where it has none, a
        step is about as many times ``lr ‖g‖`` for one parameter as for another.

        Args:
            row: the checkpoint with the groups.
            gradient: of the mean loss there, by parameter.
        """

        def choose(candidates: list[Assignment]) -> int | None:
            step = self.step(row)
            self.run.load(row)
            if step is None:
                return None
            scores = [_cosine(found, step) for found in candidates]
            if all(score is not None for score in scores):
                return _clearly([-score for score in scores if score is not None], CLEAR)
            if any(score is not None for score in scores):
                return None
            slopes = gradient()
            return _clearly([_excess(found, step, slopes) for found in candidates], LESS)

        return choose


def would_move(part: Part, weights: Tensor, gradient: Tensor) -> bool:
    """Whether an update along a gradient would change any weight, beyond rounding in the fewest bits that hold them.

    Args:
        part: rule and hyper-parameters.
        weights: of one parameter.
        gradient: of the same shape.
    """
    import torch

    lr = float(part.hyper["lr"])
    kinds = ((torch.bfloat16, 8), (torch.float16, 11))
    digits = next((n for kind, n in kinds if torch.equal(weights.to(kind).to(weights.dtype), weights)), 24)
    units = torch.exp2(torch.frexp(weights.double())[1].double() - digits)
    made = gradient.double().abs() * lr
    if part.rule.preconditions:  # by the gradient's own size, or by little of it
        made = torch.where(made > 0, lr * SLOW, 0.0)
    return bool((made > units).any())


def _clearly(costs: list[float], margin: float) -> int | None:
    """The place of the smallest cost, where all others are larger by the margin."""
    best = min(range(len(costs)), key=costs.__getitem__)
    others = [cost for place, cost in enumerate(costs) if place != best]
    return best if math.isfinite(costs[best]) and min(others) > costs[best] + margin else None


def _cosine(found: Assignment, step: dict[str, Tensor]) -> float | None:
    """Mean over parameters of the cosine of ``−Δθ`` and the averaged gradient; None without such averages."""
    cosines = []
    for name, slot in found.items():
        own = average(slot.entry)
        if own is None or name not in step or own.shape != step[name].shape:
            continue
        a, b = own.double().cpu().reshape(-1), -step[name].reshape(-1)
        length = float(a.norm() * b.norm())
        if length > 0:
            cosines.append(float(a @ b) / length)
    return sum(cosines) / len(cosines) if cosines else None


def _excess(found: Assignment, step: dict[str, Tensor], slopes: dict[str, Tensor]) -> float:
    """How ill steps fit learning rates: standard deviation and maximum over parameters of ``log(‖Δθ‖ / lr ‖g‖)``.

    A parameter that swings moves less than its steps add up to, and none moves more: the largest one counts. Infinite
    where it cannot be told.
    """
    logs = []
    for name, slot in found.items():
        if name in step and name in slopes:
            moved, rate = float(step[name].norm()), slot.lr * float(slopes[name].double().norm())
            if moved > 0 and rate > 0:
                logs.append(math.log(moved / rate))
    return pstdev(logs) + max(logs) if len(logs) > 1 else math.inf

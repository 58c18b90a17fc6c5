"""Learning rates over a run: the factor of the learning rate at each step, from a spec.

``cosine?steps=300&end=0.1&warmup=20``. A schedule knows its own length, so that a run that is stopped and resumed, or
made longer, has one learning rate for each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from opsigcli.errors import UsageError
from opsigcli.query import amount, integer, integers
from opsigcli.registry import unknown
from opsigcli.specs import Spec, parse

Factor = Callable[[int], float]  # updates made -> what multiplies the learning rate in the next one


def _constant(spec: Spec, steps: int) -> Factor:
    spec.only("warmup")
    return lambda step: 1.0


def _cosine(spec: Spec, steps: int) -> Factor:
    """``e + (1 − e)(1 + cos πs)/2`` with s the share of the steps after warm-up that are made.

    Reference: Loshchilov & Hutter 2017, SGDR, equation 5, without restarts.
    """
    end, warm = amount(spec.only("steps", "end", "warmup"), "end", 0.0), _warmup(spec)
    return lambda step: _between(1.0, end, (step - warm) / max(steps - warm, 1))


def _step(spec: Spec, steps: int) -> Factor:
    """``factor^k`` after k drops: every so many steps, or at the steps that are given.

    Raises:
        UsageError: neither is said, or both.
    """
    every = integer(spec.only("every", "at", "factor", "warmup"), "every", None)
    at, factor = integers(spec, "at", None), amount(spec, "factor", 0.1)
    if (every is None) == (at is None):
        raise UsageError(f"in {str(spec)!r}: expected every= or at=", "example: step?at=60,80&factor=0.1")
    if every is not None:
        return lambda step: float(factor ** (step // every))
    return lambda step: float(factor ** sum(step >= drop for drop in at or ()))


def _one_cycle(spec: Spec, steps: int) -> Factor:
    """Up from ``start`` to 1 until the share ``peak`` of the steps, then down to ``end``, each along a cosine.

    Raises:
        UsageError: ``peak`` is not between 0 and 1.

    Reference: Smith & Topin 2018, Super-Convergence, in the two-phase form of ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    spec.only("steps", "peak", "start", "end")
    peak, start, end = (
        amount(spec, key, default) for key, default in (("peak", 0.3), ("start", 0.04), ("end", 4e-6))
    )
    if not 0 < peak < 1:
        raise UsageError(f"in {str(spec)!r}: expected peak between 0 and 1", "example: onecycle?peak=0.3")
    top = peak * steps - 1

    def factor(step: int) -> float:
        if step <= top:
            return _between(start, 1.0, step / top)
        return _between(1.0, end, (step - top) / max(steps - 1 - top, 1e-9))

    return factor


SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "warmup": _constant,
    "onecycle": _one_cycle,
}
OF_LENGTH = ("cosine", "onecycle")  # whose steps are those of the run where they are not given


class Schedule:
    """The learning rate of each update.

    Args:
        text: a spec; every name but ``onecycle`` takes ``warmup=W``, where update t < W has ``(t + 1)/W`` of its rate.
        steps: of the run, for a schedule that does not say its own.

    Raises:
        UsageError: there is no such schedule, or an option is not its own or out of range.
    """

    def __init__(self, text: str, steps: int) -> None:
        spec = parse(text)
        if spec.scheme or spec.name not in SCHEDULES:
            raise unknown("schedule", text, SCHEDULES)
        if spec.name in OF_LENGTH:
            length = integer(spec, "steps", steps)
            spec = Spec("", spec.name, {"steps": length} | spec.options)
        elif spec.name == "warmup":  # another name for a constant rate with one
            length = integer(spec.only("steps"), "steps", 0)
            if not length:
                raise UsageError(f"in {text!r}: expected steps=", "example: warmup?steps=20")
            spec = Spec("", "constant", {"warmup": length})
        else:
            length = steps
        self.spec = (
            "" if spec == Spec("", "constant") else str(spec)
        )  # with its length; "" where nothing changes
        self._warm = _warmup(spec)
        self._factor = SCHEDULES[spec.name](spec, length)

    def factor(self, step: int) -> float:
        """What multiplies the learning rate in the update from ``step``."""
        rise = min((step + 1) / self._warm, 1.0) if self._warm else 1.0
        return rise * self._factor(step)


def _warmup(spec: Spec) -> int:
    return integer(spec, "warmup", 0, minimum=0)


def _between(first: float, last: float, share: float) -> float:
    """From ``first`` to ``last`` along half a cosine; ``share`` is held between 0 and 1."""
    return last + (first - last) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2

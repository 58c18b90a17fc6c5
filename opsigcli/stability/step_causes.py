"""What a step that an assumed rule does not make was made by: least-squares fits, simplest first.

Each fit writes the step Δ = θ(t+1) − θ(t) as a combination of few directions; one that leaves no more than rounding
names learning rate, momentum, weight decay or label smoothing of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opsigcli.optimizers.base import LARGEST
from opsigcli.stability.clipped_values import limit_of, limit_told
from opsigcli.stability.weighed import BROADCAST, EVERY, parts_of, possible_weights, weights_told

CHUNK = 1 << 22  # numbers turned to float64 at a time
FLAT = 1.5  # times as even in size as the gradient's entries are those of an adaptive rule
ALIKE = 3.0  # times the error of the best fit may be had by a simpler one
EXACT = 3e-5  # an error up to here is rounding
BETTER = 0.5  # of the error is left by a fit that is worth a word

Fit = Callable[..., tuple[list[float], float]]  # names of directions -> coefficients and relative error


@dataclass(frozen=True)
class Assumed:
    """The rule that was assumed, as far as a fit has to know it."""

    name: str  # in the table of optimizers; "" when not known
    lr: float
    gain: float = 1.0  # of the newest gradient in the step, over lr: 1 + β for Nesterov momentum
    weight_decay: float = 0.0
    preconditions: bool = False


@dataclass(frozen=True)
class Cause:
    """What would make the step, and how much of it that leaves unexplained."""

    text: str
    error: float  # ‖Δ − fit‖ / ‖Δ‖
    rule: str = ""  # in the table of optimizers, where the fit is that of a whole rule
    lr: float = math.nan
    momentum: float = 0.0
    sane: bool = True  # no value is one that a rule cannot have
    loose: bool = (
        False  # so many values are free that it is near to much: it says something where it fits alone
    )


def possible(
    *, lr: float = 1.0, momentum: float = 0.0, weight_decay: float = 0.0, share: float = 0.0
) -> bool:
    """Whether a rule can have these values: a fit may find others, which are no cause."""
    return lr > 0 and 0 <= momentum < 1 and weight_decay >= 0 and 0 <= share < 1


def dot(a: Tensor, b: Tensor) -> float:
    """``a · b`` of flat vectors, summed in float64."""
    pieces = zip(torch.split(a, CHUNK), torch.split(b, CHUNK), strict=True)
    return float(sum(float(x.double() @ y.double()) for x, y in pieces))


def norm(a: Tensor) -> float:
    """``‖a‖``, summed in float64."""
    return math.sqrt(dot(a, a))


def cosine(a: Tensor, b: Tensor) -> float:
    """``a · b / (‖a‖ ‖b‖)``; 0 where one of them is 0."""
    lengths = norm(a) * norm(b)
    return dot(a, b) / lengths if lengths else 0.0


def least_squares(step: Tensor, columns: Sequence[Tensor]) -> tuple[list[float], float]:
    """Coefficients c of the combination of columns nearest to the step, and ``‖Δ − Σ c_k x_k‖ / ‖Δ‖``.

    What is not finite, or could only be scaled by what float32 does not hold, explains nothing.
    """
    lengths = [norm(x) or 1.0 for x in columns]
    gram = torch.tensor([[dot(x, y) / (a * b) for y, b in zip(columns, lengths, strict=True)]
                         for x, a in zip(columns, lengths, strict=True)], dtype=torch.float64)  # fmt: skip
    right = torch.tensor(
        [dot(x, step) / a for x, a in zip(columns, lengths, strict=True)], dtype=torch.float64
    )
    if not (torch.isfinite(gram).all() and torch.isfinite(right).all()):
        return [0.0] * len(columns), 1.0
    solved = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ right
    found = [float(c) / a for c, a in zip(solved, lengths, strict=True)]
    found = [c if abs(c) <= LARGEST else 0.0 for c in found]
    rest = step.clone()
    for c, x in zip(found, columns, strict=True):
        rest.add_(x, alpha=-c)
    return found, norm(rest) / norm(step)


def find_cause(
    step: Tensor, directions: Mapping[str, Tensor], assumed: Assumed, sizes: Sequence[int], bound: float
) -> tuple[Cause | None, list[str]]:
    """The simplest explanation that leaves no more than ``bound``, and what the step looks like where there is none.

    Args:
        step: Δ (P,).
        directions: by name, each (P,): ``rule``, the assumed rule's step; ``gradient``; ``weights``; ``matrices``, the
            weights of tensors with two or more axes alone; ``previous``, the step before; ``before``, the gradient
            there; ``buffer``, the momentum buffer of the state; ``smoothing``, the gradient of the loss with uniform
            labels minus the gradient; ``class 3`` and ``yes 0``, the part of the gradient that a class has, or the
            outputs whose label is yes, and ``no`` the rest; ``every target``, the gradient of each output against all
            targets. Only ``gradient`` has to be there.
        assumed: the rule.
        sizes: of the parameters, whose sum is P.
        bound: of the relative error.
    """
    tried = [cause for cause in _fits(step, directions, assumed, sizes) if cause.sane]
    near = min(tried, key=lambda cause: cause.error, default=None)
    if (
        near is not None and near.error <= bound
    ):  # steps that resemble one another let wrong fits come near, not as near as the right one
        return next(cause for cause in tried if cause.error <= max(ALIKE * near.error, EXACT)), []
    signs = []
    near = min((cause for cause in tried if not cause.loose), key=lambda cause: cause.error, default=None)
    if near is not None and near.error < BETTER * _rule_error(step, directions):
        signs.append(f"nearest is {near.text}, which leaves {near.error:.2g} of the step")
    if _evenness(step) > FLAT * _evenness(directions["gradient"]) and not assumed.preconditions:
        signs.append(
            "an adaptive rule (Adam, RMSprop, Lion): the step's entries are more alike in size than the gradient's"
        )
    return None, signs


def _rule_error(step: Tensor, directions: Mapping[str, Tensor]) -> float:
    return norm(step - directions["rule"]) / norm(step) if "rule" in directions else 1.0


def _fits(
    step: Tensor, directions: Mapping[str, Tensor], assumed: Assumed, sizes: Sequence[int]
) -> Iterator[Cause]:
    """Explanations, simplest first."""
    have = directions.keys()

    def fit(*names: str) -> tuple[list[float], float]:
        return least_squares(step, [directions[name] for name in names])

    if "rule" in have:
        (scale,), error = fit("rule")
        yield Cause(
            f"learning rates {scale:.4g} times those assumed"
            if math.isnan(assumed.lr)
            else f"a learning rate of {scale * assumed.lr:.4g} instead of {assumed.lr:.4g}, or a loss that is "
            f"{scale:.4g} times the mean",
            error,
            sane=possible(lr=scale),
        )
        for which, word in (("weights", ""), ("matrices", " of the matrices alone")):
            if which in have and assumed.lr * assumed.gain > 0 and not math.isnan(assumed.weight_decay):
                (scale, along), error = fit("rule", which)
                decay = assumed.weight_decay - along / (assumed.lr * assumed.gain * (scale or math.nan))
                sane = possible(lr=scale, weight_decay=decay)
                yield Cause(
                    f"a weight decay{word} of {decay:.3g}{_instead(assumed, scale)}", error, sane=sane
                )
        if not assumed.preconditions and assumed.lr * assumed.gain > 0:
            yield _clipped_by_value(step, directions["rule"], directions["gradient"], assumed)
        yield _by_tensor(step, directions["rule"], assumed, sizes)
        if "smoothing" in have and not assumed.preconditions and assumed.lr * assumed.gain > 0:
            (scale, along), error = fit("rule", "smoothing")
            share = -along / (assumed.lr * assumed.gain * (scale or math.nan))
            sane = possible(lr=scale, share=share)
            yield Cause(f"label smoothing of {share:.3g}{_instead_lr(assumed, scale)}", error, sane=sane)
    yield from _descent(fit, have, assumed)
    if EVERY in have and not assumed.preconditions and assumed.lr * assumed.gain > 0:
        (along, *_), error = fit(EVERY, *(name for name in ("buffer",) if name in have))
        scale = -along / (assumed.lr * assumed.gain)
        yield Cause(f"{BROADCAST}{_instead_lr(assumed, scale)}", error, sane=possible(lr=scale))
    yield from _weighted(fit, have, assumed)


def _weighted(fit: Fit, have: Collection[str], assumed: Assumed) -> Iterator[Cause]:
    """A loss in which classes, or yes and no, have weights, by a rule that has no memory but its buffer."""
    names = parts_of(have)
    if not names or assumed.preconditions or not assumed.lr * assumed.gain > 0:
        return
    memory = ["buffer"] if "buffer" in have else []
    found, error = fit(*names, *memory)
    weights = [-coefficient / (assumed.lr * assumed.gain) for coefficient in found[: len(names)]]
    sane = possible_weights(weights)
    yield Cause(weights_told(names, weights, assumed.lr), error, sane=sane, loose=True)


def _instead(assumed: Assumed, scale: float) -> str:
    return f" instead of {assumed.weight_decay:.3g}{_instead_lr(assumed, scale)}"


def _instead_lr(assumed: Assumed, scale: float) -> str:
    return "" if abs(scale - 1) < 0.01 else f", with a learning rate of {scale * assumed.lr:.4g}"


def _clipped_by_value(step: Tensor, rule: Tensor, gradient: Tensor, assumed: Assumed) -> Cause:
    """``clip(g, −c, c)`` in place of g, in a rule that is linear in it."""
    rate = assumed.lr * assumed.gain
    limit = limit_of(gradient + (rule - step) / rate, gradient)
    if math.isnan(limit):
        return Cause(limit_told(limit), 1.0, sane=False)
    rest = step - rule + rate * (gradient.clamp(-limit, limit) - gradient)
    return Cause(limit_told(limit), norm(rest) / norm(step))


def _by_tensor(step: Tensor, rule: Tensor, assumed: Assumed, sizes: Sequence[int]) -> Cause:
    """A learning rate of its own for every parameter, 0 for one that is frozen."""
    scales, rest = [], 0.0
    for one, other in zip(torch.split(step, list(sizes)), torch.split(rule, list(sizes)), strict=True):
        squares = dot(other, other)
        scale = dot(one, other) / squares if squares else 1.0
        scales.append(scale)
        rest += norm(one - scale * other) ** 2
    frozen = sum(abs(scale) < 1e-6 for scale in scales)
    unit = 1.0 if math.isnan(assumed.lr) else assumed.lr
    moved = [scale * unit for scale in scales if abs(scale) >= 1e-6]
    words = []
    if frozen:
        words.append(f"{frozen} of {len(scales)} parameters that are not trained")
    if moved and (not frozen or max(moved) > 1.01 * min(moved)):
        word = "times those assumed " if math.isnan(assumed.lr) else ""
        words.append(
            f"learning rates from {min(moved):.4g} to {max(moved):.4g} {word}for different parameters"
        )
    sane = bool(moved) and min(moved) > 0
    return Cause(" and ".join(words) or "no change of any parameter", math.sqrt(rest) / norm(step), sane=sane)


def _descent(fit: Fit, have: Collection[str], assumed: Assumed) -> Iterator[Cause]:
    """Gradient descent, heavy ball and Nesterov momentum, each with weight decay or without."""
    for memory in ("", "buffer", "previous"):
        for decay in ("", "weights"):
            names = [name for name in ("gradient", memory, decay) if name]
            if set(names) <= set(have):
                found, error = fit(*names)
                yield _descent_cause(dict(zip(names, found, strict=True)), error, memory, assumed)
    if {"previous", "before"} <= set(have):
        (gradient, beta, _), error = fit("gradient", "previous", "before")
        if beta != -1:
            yield _cause("nesterov", -gradient / (1 + beta), beta, "", error)


def _descent_cause(values: Mapping[str, float], error: float, memory: str, assumed: Assumed) -> Cause:
    rate = -values["gradient"]
    if not rate:
        return Cause("a step without the gradient", error)
    shrink = -values.get("weights", 0.0) / rate
    decay = f", weight decay {shrink:.3g}" if "weights" in values else ""
    found = _remembered(values, rate, memory, decay, error, assumed)
    return replace(found, sane=found.sane and possible(weight_decay=shrink))


def _remembered(
    values: Mapping[str, float], rate: float, memory: str, decay: str, error: float, assumed: Assumed
) -> Cause:
    if not memory:
        return _cause("gd", rate, 0.0, decay, error)
    beta = values["previous"] if memory == "previous" else -values["buffer"] / rate
    if abs(beta) < 1e-3:
        return _cause("gd", rate, 0.0, f" and no momentum{decay}", error)
    if memory == "buffer":
        look = _nesterov(beta)
        if look is not None and math.isclose(rate / (1 + look), assumed.lr, rel_tol=0.01):
            return _cause("nesterov", rate / (1 + look), look, decay, error)
        if beta > 1:  # m ← βm + (1 − β)g
            return _cause("dampened", rate * (1 + beta), beta / (1 + beta), decay, error)
    return _cause("momentum", rate, beta, decay, error)


def _cause(rule: str, lr: float, momentum: float, more: str, error: float) -> Cause:
    word = f" and momentum {momentum:.3g}" if momentum else ""
    name = "gradient descent" if rule == "gd" else rule
    return Cause(
        f"{name} with lr {lr:.4g}{word}{more}", error, rule, lr, momentum, possible(lr=lr, momentum=momentum)
    )


def _nesterov(ratio: float) -> float | None:
    """β of ``β² / (1 + β) = ratio``, the weight of the buffer over that of the gradient."""
    if not ratio > 0:
        return None
    beta = (ratio + math.sqrt(ratio * ratio + 4 * ratio)) / 2
    return beta if beta < 1 else None


def _evenness(vector: Tensor) -> float:
    """``(mean |x|)² / mean x²`` over the entries that are not 0: 1 where all are of one size, .64 for a Gaussian."""
    kept = vector[vector != 0]
    if not len(kept):
        return 0.0
    return float(kept.abs().double().mean() ** 2 / kept.double().square().mean())

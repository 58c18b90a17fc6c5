"""Parts of the mean loss's gradient that a training loss may weigh otherwise: classes, and outputs that say yes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

CLASS = "class "  # of the name of a direction, before the number of the class
YES, NO = "yes ", "no"  # before the number of the output whose label is yes; all whose label is no
EVERY = "every target"  # of the direction in which each output is held against all targets
BROADCAST = (
    "a loss of each output against all targets, which fits their mean alone: torch makes (N, N) differences of outputs "
    "(N, 1) and targets (N,)"
)
EVEN = 1e-3  # relative differences up to here are none
ROUNDING = 3e-5  # of a weight


def parts_of(have: Collection[str]) -> list[str]:
    """The names among directions of those whose sum is the gradient; [] where there are none."""
    return [name for name in have if name.startswith((CLASS, YES)) or name == NO]


def possible_weights(weights: Sequence[float]) -> bool:
    """Whether a loss can have these weights, and they are weights: none below 0, not all 0, and not all alike."""
    return (
        min(weights) >= -ROUNDING and max(weights) > 0 and max(weights) - min(weights) > EVEN * max(weights)
    )


def weights_told(parts: Sequence[str], weights: Sequence[float], lr: float | None = None) -> str:
    """What weighs so, in words, with the loss that does.

    Args:
        parts: names of the directions.
        weights: of each in the gradient that made the step.
        lr: by which they were divided; None where the gradient itself is known.
    """
    if NO not in parts:
        told = ",".join(f"{max(weight, 0):.4g}" for weight in weights)
        return f"classes with weights {told} in the mean loss (--loss 'ce?weight={told}')"
    by_part = dict(zip(parts, weights, strict=True))
    base = by_part.pop(NO)
    own = [max(weight, 0) / base if base > 0 else 0.0 for weight in by_part.values()]
    even = max(own) - min(own) <= EVEN * max(own)
    told = f"{sum(own) / len(own):.4g}" if even else ",".join(f"{weight:.4g}" for weight in own)
    rate = "" if lr is None or abs(base - 1) < EVEN else f", with a learning rate of {base * lr:.4g}"
    return f"a yes that weighs {told} times a no in the mean loss (--loss 'bce?pos_weight={told}'){rate}"

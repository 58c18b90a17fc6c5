"""What can be told of a step made from one batch that is not known: it is one of many that might have been made."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opsigcli.stability.step_causes import cosine, dot, norm

DRAWS = 16
FAR = 6.0  # standard deviations of the random batches from their mean is no chance
SPREAD = 0.01  # relative, the least that random batches are taken to spread
LEAST = 8  # weights without gradient from which their decay is seen
OFF = 0.02  # relative error of the step of weights without gradient


class StepNull:
    """Steps of random batches, against which one step is held.

    Args:
        step: Δ (P,).
        whole: the assumed rule's step on all examples (P,).
        gradient: of all examples (P,).
        start: θ (P,).
        sizes: of the parameters.
        names: of the same.
    """

    draws = DRAWS

    def __init__(
        self,
        step: Tensor,
        whole: Tensor,
        gradient: Tensor,
        start: Tensor,
        sizes: Sequence[int],
        names: Sequence[str],
    ) -> None:
        self.step, self.whole, self.gradient, self.start = step, whole, gradient, start
        self.sizes, self.names = list(sizes), names
        self.found = self._numbers(step)
        self.found_lengths = self._lengths(step)
        self.null: list[tuple[float, float, float]] = []
        self.null_lengths: list[np.ndarray] = []

    def add(self, drawn: Tensor) -> None:
        """Count in the step of a random batch."""
        self.null.append(self._numbers(drawn))
        self.null_lengths.append(self._lengths(drawn))

    def far(self) -> np.ndarray:
        """How many standard deviations of random batches the numbers are from their mean, (3,)."""
        null = np.array(self.null)
        means = null.mean(0)
        deviations = np.maximum(null.std(0, ddof=1), SPREAD * np.abs(means))
        far: np.ndarray = np.abs(np.array(self.found) - means) / deviations
        far[2] = (
            abs(math.log(self.found[2] / means[2])) * means[2] / deviations[2] if self.found[2] else math.inf
        )
        return far

    def verdict(self, lr: float) -> tuple[bool, list[str]]:
        """Whether the step is none that a random batch makes, and what was found, what speaks against it first."""
        null, far = np.array(self.null), self.far()
        means = null.mean(0)
        against, said = [], []
        along = self.found[0] / means[0] if means[0] else math.nan
        if far[0] > FAR:
            against.append(
                f"along the gradient the step is {along:.3g} times as long as random batches make it: a learning rate "
                f"of about {along * lr:.3g} would fit, not {lr:.3g}, or another momentum"
            )
        else:
            said.append(f"length along the gradient {along:.2f} of that of random batches")
        low, high = null[:, 1].min(), null[:, 1].max()
        words = f"cosine with the step of all examples {self.found[1]:.3f}, of random batches {low:.3f} to {high:.3f}"
        (against if far[1] > FAR else said).append(words)
        if far[2] > FAR:
            times = self.found[2] / means[2]
            fits = "" if against else f": a learning rate of about {times * lr:.3g} would fit, not {lr:.3g}"
            against.insert(0, f"the step is {times:.3g} times as long as random batches make it{fits}")
        against += self._tensors()
        decayed, word = self._decay(lr)
        if word:
            (against if decayed else said).append(word)
        return bool(against), [*against, *said]

    def _numbers(self, step: Tensor) -> tuple[float, float, float]:
        """Length along the step of all examples, cosine with it, length."""
        squares = dot(self.whole, self.whole)
        return dot(step, self.whole) / squares if squares else 0.0, cosine(step, self.whole), norm(step)

    def _lengths(self, step: Tensor) -> np.ndarray:
        return np.array([norm(part) for part in torch.split(step, self.sizes)])

    def _tensors(self) -> list[str]:
        """Parameters whose steps are longer or shorter, against the others, than random batches make them."""
        null = np.array(self.null_lengths)
        used = np.flatnonzero((null > 0).all(0))
        if not len(used):
            return []
        logs = np.log(null[:, used])
        with np.errstate(divide="ignore"):
            off = np.log(self.found_lengths[used]) - logs.mean(0)
        still = used[np.isneginf(off)]
        if len(still):
            return [
                f"{len(still)} of {len(self.names)} parameters did not move, such as {self.names[still[0]]}"
            ]
        off = off - np.median(off)
        wrong = np.abs(off) > np.maximum(FAR * logs.std(0, ddof=1), math.log(2))
        if not wrong.any():
            return []
        worst = int(np.argmax(np.where(wrong, np.abs(off), 0)))
        return [
            f"steps of {int(wrong.sum())} of {len(self.names)} parameters are of other lengths than the rule's, such "
            f"as {self.names[used[worst]]}, {math.exp(off[worst]):.3g} times: learning rates of their own"
        ]

    def _decay(self, lr: float) -> tuple[bool, str]:
        """Weight decay, seen on weights that have no gradient."""
        quiet = (self.gradient == 0) & (self.start != 0)
        count = int(quiet.sum())
        if count < LEAST or not lr:
            return False, ""
        made, rule, start = (x[quiet].double() for x in (self.step, self.whole, self.start))
        seen, assumed = (float(-(x @ start) / (start @ start) / lr) for x in (made, rule))
        rounding = float(torch.exp2(torch.frexp(start.abs().float())[1].double() - 25).norm())
        wrong = float((made - rule).norm()) > OFF * max(float(rule.norm()), float(made.norm())) + 2 * rounding
        word = f"{count:,} weights without gradient decay by {seen:.3g} a step over the learning rate"
        return wrong, f"{word}, not by {assumed:.3g}" if wrong else f"{word}, as assumed"

"""What the steps of a run count, in words: optimizer steps, epochs, numbers in file names, or places in a folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = {
    "": "steps",
    "step": "optimizer steps",
    "epoch": "epochs",
    "number": "the numbers in the checkpoints' names, which do not say what they count",
    "position": "the places of the checkpoints in their order",
}


@dataclass(frozen=True)
class Axis:
    """The unit of the numbers that checkpoints are told apart by."""

    unit: str = ""  # step, epoch, number or position; "" when not known, as in stores of older versions

    @property
    def one(self) -> str:
        """The name of one number, as a column has it."""
        return self.unit if self.unit and self.unit in _WORDS else "step"

    @property
    def many(self) -> str:
        """The name of several."""
        return f"{self.one}s"

    def named(self, amount: int) -> str:
        """The name of so many."""
        return self.one if amount == 1 else self.many

    @property
    def words(self) -> str:
        """What the numbers count, in a sentence."""
        return _WORDS.get(self.unit, "steps")

    @property
    def counts_updates(self) -> bool:
        """Whether two numbers that differ by one are one update apart, as far as is known."""
        return self.one == "step"

    def apart(self, steps: Sequence[int]) -> str:
        """How far checkpoints are from one another, in a sentence; "" where each is one update from the next.

        Args:
            steps: of the checkpoints, increasing; two at least.
        """
        if self.unit in ("number", "position"):
            return "nothing says how many steps apart the checkpoints are; they may be many"
        gaps = Counter(int(b) - int(a) for a, b in pairwise(steps))
        least, most = min(gaps), max(gaps)
        if self.counts_updates and most == 1:
            return ""
        between = f"{least:,} {self.named(least)}" if least == most else f"{least:,} to {most:,} {self.many}"
        usual, times = gaps.most_common(1)[0]
        often = f" (most {usual:,})" if least < most and times * 2 > gaps.total() else ""
        return f"checkpoints are {between} apart{often}" + (
            "" if self.counts_updates else ", which are many steps"
        )

    def one_update(self, first: int, last: int | None) -> bool:
        """Whether two checkpoints are one update apart, as far as is known: one epoch or one name on is none."""
        return last is not None and self.counts_updates and last == first + 1

    def at(self, step: int) -> str:
        """One checkpoint: ``epoch 1,200``."""
        return f"{self.one} {step:,}"

    def span(self, first: int, last: int) -> str:
        """From one checkpoint to another: ``epochs 3 to 12``."""
        return f"{self.many} {first:,} to {last:,}"

    def between(self, first: int, last: int) -> str:
        """What lies between two checkpoints: ``epoch 3 to 4``."""
        return f"{self.one} {first:,} to {last:,}"


STEPS = Axis()

"""The nouns of what a look at a run may find otherwise than in training: inputs, classes, padding, targets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

OTHERS = 2  # ways named beside the best
PERMUTED = 4  # classes named as others


def first_of(names: Sequence[str]) -> str:
    """The first two, and how many more there are."""
    more = len(names) - OTHERS
    return " and ".join(names) if more <= 0 else f"{', '.join(names[:OTHERS])} and {more} more"


@dataclass(frozen=True)
class Better:
    """A way of preparing the inputs with which the last checkpoint does clearly better."""

    name: str  # in words
    data: str  # spec; "" where no option of one prepares them so
    mean_loss: float  # nats, so prepared
    right: float | None  # share of right answers, so prepared
    as_given: float  # mean loss of the same examples
    others: tuple[str, ...] = ()  # ways that cannot be told from it by their losses, the best first
    # KL of the first BatchNorm's stored statistics from those of the inputs, nats per channel: as given, and so
    # prepared; None where the loss tells.
    unlike: float | None = None
    unlike_so: float | None = None  # the same, so prepared
    model: str = ""  # option of the model, where it prepares its inputs itself and the data stay as they are

    @property
    def words(self) -> str:
        """What to give instead."""
        right = "" if self.right is None else f" and {self.right:.1%} right"
        others = f"; {first_of(self.others)} cannot be told from it" if self.others else ""
        if self.unlike is not None:
            return (
                "BatchNorm's stored statistics are those of other inputs: in the first layer they are "
                f"{self.unlike:.2g} nats from those of the data as given, {self.unlike_so:.2g} with {self.name}: give "
                f"--data {shlex.quote(self.data)}{others}"
            )
        advice = f"give --data {shlex.quote(self.data)}" if self.data else "save them so"
        advice = f"add {self.model} to --model" if self.model else advice
        return (
            f"with {self.name} the same examples have a mean loss of {self.mean_loss:.4g}{right} in place of "
            f"{self.as_given:.4g}: {advice}{others}"
        )


@dataclass(frozen=True)
class Permutation:
    """Classes that the model answers as one another: a relabelling of the data would make these answers right."""

    answered: dict[str, str]  # class of the data -> class that most of its examples are answered as
    right: float  # share of right answers of the sample, as labelled
    relabelled: float  # and with the labels permuted
    natural: bool = False  # it is that of names sorted 1, 10, 2 in place of 1, 2, 10
    data: str = (
        ""  # spec with the classes in the order of the outputs; "" where the source has no option for that
    )

    @property
    def words(self) -> str:
        """What is permuted, and what to give instead."""
        named = [f"{one!r} as {other!r}" for one, other in list(self.answered.items())[:PERMUTED]]
        more = f" and {len(self.answered) - PERMUTED} more" if len(self.answered) > PERMUTED else ""
        why = (
            "the classes seem to be numbered in natural order (1, 2, 10, and capitals like small letters)"
            if self.natural
            else "labels are permuted"
        )
        advice = f": give --data {shlex.quote(self.data)}" if self.data else ": relabel the data"
        return (
            f"the last checkpoint answers {', '.join(named)}{more}; {why}, and the order of classes is not that of "
            f"training ({self.right:.1%} right, {self.relabelled:.1%} if they are put in order){advice}"
        )


@dataclass(frozen=True)
class PaddedLabels:
    """Padding among the labels of tokens, which is not ignored."""

    token: int | None  # the label that pads; None where a mask says what padding is
    count: int  # labels that are padding
    of: int  # labels
    with_padding: float  # mean loss of a sample over all its labels
    without: float  # and over those that are no padding
    loss: str  # spec that ignores the token; "" where none does

    @property
    def words(self) -> str:
        """What is not ignored, what that does to the loss, and what to give instead."""
        which = (
            "tokens that attention_mask leaves out"
            if self.token is None
            else f"runs of the label {self.token}"
        )
        advice = (
            f"give --loss {shlex.quote(self.loss)}, which ignores every label {self.token}"
            if self.loss
            else "write -100 as the label of padding"
        )
        return (
            f"{self.count:,} of {self.of:,} labels ({self.count / self.of:.0%}) are padding that is not ignored, "
            f"{which}: the last checkpoint's mean loss is {self.with_padding:.4g} with them and {self.without:.4g} "
            f"without. If training ignored padding, {advice}"
        )


@dataclass(frozen=True)
class OtherScale:
    """Targets that are numbers, on another scale than the outputs: training changed them."""

    name: str  # what training made of them, in words
    formula: str  # the same of ``y``, as NumPy has it
    explained: float  # R² of the outputs for targets so changed

    @property
    def words(self) -> str:
        """What the outputs are of, and what to give instead."""
        return (
            f"the outputs seem to be of targets {self.name} (R² {self.explained:.3f}), and those of the data are not: "
            f"save them as y = {self.formula}, with the constants of training; losses, sharpness and ratios are of "
            "other targets than were trained"
        )

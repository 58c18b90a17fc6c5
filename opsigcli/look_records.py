"""The nouns of a look at a run: how its first and its last checkpoint do on the data, beside a guess."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opsigcli.doubt_records import Better, OtherScale, PaddedLabels, Permutation, first_of
from opsigcli.errors import ObjectiveError
from opsigcli.sentences import say

ROUNDED = 1e-9  # shares that add up to 1 may miss it by as much
NEAR = 0.95  # of the loss of a guess: above it a checkpoint knows next to nothing
LISTED = 20  # classes


@dataclass(frozen=True)
class Score:
    """How well a sample comes out."""

    mean_loss: float  # nats, weighted as the whole data are
    right: float | None  # share of labels that have the largest output, likewise; None where there are none
    explained: float | None = None  # R², of numbers under mse

    @property
    def words(self) -> str:
        """Both numbers in words."""
        right = "" if self.right is None else f"{self.right:.1%} right, "
        right = right if self.explained is None else f"R² {self.explained:.3f}, "
        return f"{right}mean loss {self.mean_loss:.4g}"


@dataclass(frozen=True)
class Look:
    """What a sample of the data says of a run."""

    examples: int  # of the sample
    of: int  # that count
    classes: dict[str, int]  # name -> examples, of all the data; {} where there are none
    outputs: int | None  # classes that the model tells apart
    uniform: Score | None  # of a guess that takes all classes for equally likely
    prior: (
        Score | None
    )  # of the best constant: of plain cross-entropy, of one that knows how frequent they are
    checkpoints: dict[str, Score]  # file -> score, of the first and the last
    fits: tuple[str, ...]  # how the weights were made to fit
    better: Better | None = (
        None  # inputs prepared otherwise, with which the last checkpoint does clearly better
    )
    permutation: Permutation | None = None
    padded: PaddedLabels | None = None
    untried: tuple[str, ...] = ()  # ways to prepare inputs that would have taken too much work
    scale: OtherScale | None = None  # of targets that are numbers, which training changed
    flat: float | None = None  # the part of the targets' variance that outputs near their mean have
    lowest: float | None = None  # the smallest mean loss of the trace, nats
    lowest_at: str = ""  # where that was, in words

    @property
    def last(self) -> Score:
        """The score of the last checkpoint."""
        return list(self.checkpoints.values())[-1]

    @property
    def a_guess(self) -> bool:
        """The last checkpoint does no better than a guess: its loss is above, or near it with as many right answers."""
        if not self.checkpoints or not math.isfinite(self.last.mean_loss):
            return False
        prior = self._guess
        if prior is None or self.last.mean_loss < NEAR * prior.mean_loss:
            return False
        if self.last.right is None or prior.right is None:
            return True
        if self.last.right > max(0.5, 2 * prior.right):
            return False  # a large loss of few examples, as that of examples not trained on
        if self.last.mean_loss > prior.mean_loss:
            return True
        chance = max(prior.right, self.uniform.right if self.uniform and self.uniform.right else 0.0)
        return self.last.right <= chance + 2 * math.sqrt(chance * (1 - chance) / self.examples)

    @property
    def lost(self) -> bool:
        """It does no better now, and the run did better on these data before: they are those of training."""
        guess = self._guess
        low = self.lowest
        return self.a_guess and guess is not None and low is not None and bool(low < NEAR * guess.mean_loss)

    @property
    def lost_words(self) -> str:
        """That what was learned is gone, and how it was before; "" where it is not."""
        if not self.lost or self.lowest is None:
            return ""
        return say(
            "look: lost",
            how=self._how,
            against=self._against_guess,
            lowest=f"{self.lowest:.4g}",
            at=self.lowest_at,
        )

    @property
    def messages(self) -> tuple[str, ...]:
        """What was seen, a sentence each."""
        if not self.classes:
            return (self.sentence,)
        named = [f"{name} {count:,}" for name, count in list(self.classes.items())[:LISTED]]
        more = f", and {len(self.classes) - LISTED} more" if len(self.classes) > LISTED else ""
        return (self.sentence, f"{len(self.classes)} classes: {', '.join(named)}{more}")

    @property
    def sentence(self) -> str:
        """How the first and the last checkpoint do, beside guesses."""
        said = [f"{score.words} at {file}" for file, score in self.checkpoints.items()]
        guesses = [("a uniform guess", self.uniform), ("the best constant guess", self.prior)]
        against = [f"{name}: {score.words}" for name, score in guesses if score is not None]
        return f"{self.examples:,} of {self.of:,} examples: {'; '.join([*said, *against])}"

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what is traced may be another function than the one trained, the likeliest cause first."""
        lines = [
            one.words for one in (self.permutation, self.padded, self.scale, self.better) if one is not None
        ]
        if self.flat is not None:
            lines.append(
                f"outputs hardly differ from one example to another ({self.flat:.1%} of the targets' variance) and are "
                "near the mean target, as a loss of outputs (N, 1) against targets (N,) leaves them (torch holds each "
                "output against all targets then), or a run that failed or hardly began, or few targets far out"
            )
        if self.a_guess and not self.lost:
            how, began = self._how, " or hardly began" if self._how == "hardly" else ""
            lines.append(
                f"the last checkpoint does {how} better than a guess ({self._against_guess}): labels, the order of "
                "classes, normalisation, transform, layout or loss are not those of training, or the run failed"
                f"{began}"
            )
        return tuple(lines)

    @property
    def warnings(self) -> tuple[str, ...]:
        """These, and what was not tried or does not match."""
        lines = list(self.doubts)
        lines += [self.lost_words] if self.lost else []
        if self.untried and self.better is None:
            lines.append(
                f"the model is too large to try every usual normalisation: not tried were {first_of(self.untried)}"
            )
        if self.outputs is not None and self.classes and self.outputs != len(self.classes):
            lines.append(f"the model tells {self.outputs} classes apart, the data have {len(self.classes)}")
        return tuple(lines)

    @property
    def _how(self) -> str:
        """How much better than a guess: hardly, where loss and right answers are, or no."""
        guess = self._guess
        ahead = guess is not None and self.last.mean_loss < guess.mean_loss
        ahead = ahead and (self.last.right or 0.0) >= ((guess and guess.right) or 0.0)
        return "hardly" if ahead else "no"

    @property
    def _against_guess(self) -> str:
        return f"{self.last.words}; a guess has {self._guess.words}" if self._guess else self.last.words

    @property
    def _guess(self) -> Score | None:
        """What has to be beaten: the best constant, but for data of one label, which nothing could do better on."""
        prior = self.prior
        knows_all = prior is not None and (prior.mean_loss <= 0 or (prior.right or 0.0) > 1 - ROUNDED)
        return self.uniform if knows_all else prior

    def require(self) -> None:
        """Refuse a run whose data are not those of its training.

        Raises:
            ObjectiveError: classes are answered as one another; or BatchNorm's statistics are those of inputs prepared
                otherwise; or the last checkpoint does no better than a guess, and with inputs prepared otherwise or
                targets on another scale it does, or it has outputs for other classes than the data.
        """
        if self.permutation is not None:
            raise ObjectiveError(
                "expected the classes of the data in the order of the model's outputs", self.permutation.words
            )
        if self.better is not None and self.better.unlike is not None:
            raise ObjectiveError("expected inputs prepared as in training", self.better.words)
        if not self.a_guess:
            return
        if self.outputs is not None and self.classes and self.outputs != len(self.classes):
            named = ", ".join(list(self.classes)[:LISTED])
            raise ObjectiveError(
                f"expected {self.outputs} classes, as many as the model has outputs; the data have {len(self.classes)} "
                f"({named}), and the last checkpoint does no better than a guess",
                "check that --data are those of the run's training",
            )
        if why := self.scale or self.better:
            raise ObjectiveError(
                f"expected the last checkpoint to do better than a guess, found {self.last.words}", why.words
            )

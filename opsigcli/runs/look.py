"""A look at a run before it is approved: do its first and its last checkpoint do better on the data than a guess?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.checkpoints.series import Series
from opsigcli.datasets.listing import spread
from opsigcli.errors import ModelError, ObjectiveError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.progress import Progress
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.normalisations import Better, better_prepared
from opsigcli.runs.right_answers import class_dimension, labels_of, right_answers

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints

SAMPLE = 200  # examples, spread over the classes
TOKENS = 1 << 14  # that they have at most together, where examples are sequences
BATCH = 50
FINE = 0.9  # share of right answers from which nothing better is looked for
NEAR = 0.95  # of the loss of a guess: above it a checkpoint knows next to nothing
LISTED = 20  # classes
OF_NUMBERS = ("mse", "l1", "huber", "smooth_l1")  # losses whose best constant guess is about the mean


@dataclass(frozen=True)
class Score:
    """How well a sample comes out."""

    mean_loss: float  # nats, weighted as the whole data are
    right: float | None  # share of labels that have the largest output, likewise; None where there are none

    @property
    def words(self) -> str:
        """Both numbers in words."""
        right = "" if self.right is None else f"{self.right:.1%} right, "
        return f"{right}mean loss {self.mean_loss:.4g}"


@dataclass(frozen=True)
class Look:
    """What a sample of the data says of a run."""

    examples: int  # of the sample
    of: int  # that count
    classes: Mapping[str, int]  # name -> examples, of all the data; {} where there are none
    outputs: int | None  # classes that the model tells apart
    uniform: Score | None  # of a guess that takes all classes for equally likely
    prior: Score | None  # of one that knows how frequent they are; of the best constant, for numbers
    checkpoints: Mapping[str, Score]  # file -> score, of the first and the last
    fits: tuple[str, ...]  # how the weights were made to fit
    better: Better | None = (
        None  # inputs prepared otherwise, with which the last checkpoint does clearly better
    )

    @property
    def last(self) -> Score:
        """The score of the last checkpoint."""
        return list(self.checkpoints.values())[-1]

    @property
    def a_guess(self) -> bool:
        """The last checkpoint does no better than a guess: its loss is above, or near it with as many right answers."""
        if self.prior is None or self.last.mean_loss < NEAR * self.prior.mean_loss:
            return False
        if self.last.right is None or self.prior.right is None or self.last.mean_loss > self.prior.mean_loss:
            return True
        chance = max(self.prior.right, self.uniform.right if self.uniform and self.uniform.right else 0.0)
        return self.last.right <= chance + 2 * math.sqrt(chance * (1 - chance) / self.examples)

    @property
    def messages(self) -> tuple[str, ...]:
        """What was seen, a sentence each."""
        said = [f"{score.words} at {file}" for file, score in self.checkpoints.items()]
        guesses = [("a uniform guess", self.uniform), ("the best constant guess", self.prior)]
        against = [f"{name}: {score.words}" for name, score in guesses if score is not None]
        lines = [f"{self.examples:,} of {self.of:,} examples: {'; '.join([*said, *against])}"]
        if self.classes:
            named = [f"{name} {count:,}" for name, count in list(self.classes.items())[:LISTED]]
            more = f", and {len(self.classes) - LISTED} more" if len(self.classes) > LISTED else ""
            lines.append(f"{len(self.classes)} classes: {', '.join(named)}{more}")
        return tuple(lines)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against it."""
        lines = []
        if self.a_guess:
            lines.append(
                f"the last checkpoint does no better than a guess ({self._against_guess}): labels, the order of "
                "classes, normalisation, transform or loss are not those of training, or the run failed"
            )
        if self.better is not None:
            lines.append(self.better.words)
        if self.outputs is not None and self.classes and self.outputs != len(self.classes):
            lines.append(f"the model tells {self.outputs} classes apart, the data have {len(self.classes)}")
        return tuple(lines)

    @property
    def _against_guess(self) -> str:
        return f"{self.last.words}; a guess has {self.prior.words}" if self.prior else self.last.words

    def require(self) -> None:
        """Refuse a run whose data are not those of its training.

        Raises:
            ObjectiveError: the last checkpoint does no better than a guess, and with inputs prepared otherwise it
                does, or it has outputs for other classes than the data.
        """
        if not self.a_guess:
            return
        if self.outputs is not None and self.classes and self.outputs != len(self.classes):
            named = ", ".join(list(self.classes)[:LISTED])
            raise ObjectiveError(
                f"expected {self.outputs} classes, as many as the model has outputs; the data have {len(self.classes)} "
                f"({named}), and the last checkpoint does no better than a guess",
                "check that --data are those of the run's training",
            )
        if self.better is not None:
            raise ObjectiveError(
                f"expected the last checkpoint to do better than a guess, found {self.last.words}",
                self.better.words,
            )


def look(
    series: Series, source: ExampleSource, model: str, loss: str, partial: bool, progress: Progress
) -> Look:
    """Load the first and the last checkpoint, and compute losses and right answers of a sample of the data.

    Examples of a class are drawn at random, and weighted so that classes count as in all the data.

    Raises:
        ModelError: the model cannot be built, or the weights do not fit.
        ObjectiveError: the loss does not fit, couples examples, or is not finite.
        CheckpointError: a checkpoint cannot be read.
    """
    from opsigcli.objective.independence import refuse_coupling

    objective = build_objective(model, source, loss, device="cpu", batch_size=BATCH)
    loader = Loader(objective.model, partial)
    sample, weights = _sample(objective)
    scores: dict[str, Score] = {}
    ends = dict.fromkeys((0, len(series) - 1))
    with progress.task("look", len(ends), "checkpoint") as task:
        for index in ends:
            checkpoint = series.checkpoints[index]
            state = series.read(index)
            try:
                loader.load(state, checkpoint.file)
            except ModelError as error:
                raise _head(error, state, source) from error
            refuse_coupling(objective, checkpoint.file)
            scores[checkpoint.file] = _score(objective, sample, weights)
            if not math.isfinite(scores[checkpoint.file].mean_loss):
                raise ObjectiveError(
                    f"expected a finite loss on {len(sample)} examples, found {scores[checkpoint.file].mean_loss} at "
                    f"{checkpoint.file}",
                    "check that --model, --data and --loss belong to these checkpoints",
                )
            task.advance(note=f"{checkpoint.file}: {scores[checkpoint.file].words}")
    uniform, prior, outputs = _guesses(objective, sample, weights)
    of_examples = source.sequences is None and labels_of(objective, sample[:1]).ndim == 1
    named = source.classes if outputs is not None and of_examples else ()
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(named))
    found = Look(
        len(sample), objective.n, dict(zip(named, map(int, counts), strict=False)), outputs, uniform, prior,
        scores, tuple(loader.fits),
    )  # fmt: skip
    if found.a_guess or (found.last.right is not None and found.last.right < FINE):
        found = replace(found, better=better_prepared(objective, sample, weights))
    return found


def _sample(objective: Objective) -> tuple[Ints, Floats]:
    """Positions of examples, spread over the classes, and their weights: together 1, each class as in all the data."""
    source, rng = objective.source, np.random.default_rng(0)
    order = rng.permutation(objective.counted)
    tokens = source.read(order[:1]).dtype.kind == "i"
    most = max(8, TOKENS // max(1, int(np.prod(source.input_shape)))) if tokens else SAMPLE
    rows = order[spread(source.labels[order], min(SAMPLE, most))]
    labels = source.labels[rows]
    whole = {
        int(c): int(n) for c, n in zip(*np.unique(source.labels[order], return_counts=True), strict=True)
    }
    part = {int(c): int(n) for c, n in zip(*np.unique(labels, return_counts=True), strict=True)}
    weights = np.array([whole[int(c)] / part[int(c)] for c in labels], dtype=np.float64)
    if objective.weights is not None:
        weights *= objective.weights[rows]
    total = weights.sum()
    return rows, weights / total if total > 0 else np.full(len(rows), 1 / len(rows))


def _score(objective: Objective, sample: Ints, weights: Floats) -> Score:
    """Mean loss and right answers at the weights that are loaded."""
    losses, right = [], []
    for outputs, targets, positions in _passes(objective, sample):
        losses.append(objective.example_loss(outputs, targets).double().cpu().numpy())
        right.append(right_answers(objective, outputs, positions))
    known = [each for each in right if each is not None]
    return Score(
        float(weights @ np.concatenate(losses)),
        float(weights @ np.concatenate(known)) if len(known) == len(right) else None,
    )


def _passes(objective: Objective, sample: Ints) -> Any:
    import torch

    objective.settle()
    with torch.inference_mode():
        for start in range(0, len(sample), BATCH):
            positions = sample[start : start + BATCH]
            inputs, targets = objective.batch(positions)
            yield objective.model(inputs), targets, positions


def _guesses(
    objective: Objective, sample: Ints, weights: Floats
) -> tuple[Score | None, Score | None, int | None]:
    """The scores of outputs that do not look at the inputs, and the number of classes."""
    import torch

    outputs, _, positions = next(iter(_passes(objective, sample[:1])))
    dim = class_dimension(objective, outputs, labels_of(objective, positions))
    labels = labels_of(objective, sample)
    if dim is None:
        if (
            not labels.is_floating_point()
            or objective.kind.classes is not None
            or labels.shape[1:] != outputs.shape[1:]
        ):
            return None, None, None
        share = torch.as_tensor(weights, dtype=labels.dtype).reshape(-1, *[1] * (labels.ndim - 1))
        constant = (labels * share).sum(0, keepdim=True).expand_as(labels)
        losses = objective.example_loss(constant.to(outputs.dtype), objective.targets(sample))
        return None, Score(float(weights @ losses.double().numpy()), None), None
    classes = outputs.shape[dim]
    labelled = labels != IGNORED
    share = torch.as_tensor(weights).reshape(-1, *[1] * (labels.ndim - 1)) * labelled
    each = (
        labelled.reshape(len(labels), -1)
        .sum(1)
        .clamp(min=1)
        .reshape(share.shape[:1] + (1,) * (labels.ndim - 1))
    )
    frequent = torch.zeros(classes, dtype=torch.float64)
    frequent.index_add_(0, labels[labelled], (share / each)[labelled])
    found = []
    for guess in (torch.full((classes,), 1 / classes, dtype=torch.float64), frequent):
        logs = guess.clamp(min=1e-12).log().to(outputs.dtype)
        each_loss = []
        for start in range(0, len(sample), BATCH):
            part = sample[start : start + BATCH]
            shape = [1] * outputs.ndim
            shape[dim] = classes
            constant = logs.reshape(shape).expand(len(part), *outputs.shape[1:])
            each_loss.append(objective.example_loss(constant, objective.targets(part)).double().numpy())
        right = 1 / classes if guess is not frequent else float(frequent.max())
        found.append(Score(float(weights @ np.concatenate(each_loss)), right))
    return found[0], found[1], classes


def _head(error: ModelError, state: Mapping[str, Tensor], source: ExampleSource) -> ModelError:
    """The error of weights that do not fit, with what a head for other classes suggests."""
    sizes = [
        value.shape[0] for key, value in state.items() if key.endswith(("weight", "bias")) and value.ndim
    ]
    if (
        not source.classes
        or not sizes
        or sizes[-1] == source.outputs
        or "of another shape" not in error.message
    ):
        return error
    return ModelError(
        f"{error.message}\nthe last layer of the weights has {sizes[-1]} outputs, and the data have {source.outputs} "
        f"classes: {', '.join(source.classes[:LISTED])}",
        f"check that --data are those of the run's training; {error.hint}",
    )

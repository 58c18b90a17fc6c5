"""A look at a run before it is approved: do its first and its last checkpoint do better on the data than a guess?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.checkpoints.manifest import Manifest
from opsigcli.checkpoints.pad_token import recorded_pad
from opsigcli.checkpoints.series import Series
from opsigcli.datasets.listing import spread
from opsigcli.doubt_records import OtherScale
from opsigcli.errors import ModelError, ObjectiveError
from opsigcli.examples import ExampleSource
from opsigcli.look_records import Look, Score
from opsigcli.objective.batch_norm import batch_norms, statistics_of
from opsigcli.progress import Progress
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.class_order_beside import require_class_order
from opsigcli.runs.guesses import guesses
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.normalisations import better_prepared
from opsigcli.runs.other_head import of_other_head
from opsigcli.runs.other_layout import other_layout
from opsigcli.runs.other_scale import near_their_mean, other_scale
from opsigcli.runs.own_preparation import better_by_itself, by_itself_too
from opsigcli.runs.padded_labels import padded_labels
from opsigcli.runs.permuted import permuted
from opsigcli.runs.right_answers import class_dimension, labels_of, right_answers, share_right
from opsigcli.runs.stored_statistics import FirstBatchNorm, statistics_stay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints, Run

SAMPLE = 200  # examples, spread over the classes
TOKENS = 1 << 14  # that they have at most together, where examples are sequences
BATCH = 50
FINE = 0.9  # share of right answers from which nothing better is looked for
LARGE_SAMPLE = 1000  # where losses of all the data are computed anyway


def look(series: Series, source: ExampleSource, run: Run | Manifest, progress: Progress) -> Look:
    """Load the first and the last checkpoint, and compute losses and right answers of a sample of the data.

    Examples of a class are drawn at random, and weighted so that classes count as in all the data.

    Raises:
        ModelError: the model cannot be built, or the weights do not fit.
        ObjectiveError: the loss does not fit, couples examples, or is not finite.
        CheckpointError: a checkpoint cannot be read.
        DatasetError: the classes of the data have another order than the run wrote down.
    """
    from opsigcli.objective.contract import require_contract
    from opsigcli.objective.independence import refuse_coupling

    require_class_order(series, source)
    objective = build_objective(
        run.model, source, run.loss, device="cpu", batch_size=BATCH, config=run.config
    )
    loader = Loader(objective.model, run.partial)
    if batch_norms(objective.model) and not statistics_stay(loader, series):  # as a trace has it
        some, _ = _sample(objective, SAMPLE)
        objective.data_statistics = statistics_of(
            "re-estimate", objective.model, np.sort(some), objective.read
        )
    ends = dict.fromkeys((0, len(series) - 1))
    with progress.task("look", len(ends), "checkpoint") as task:

        def check(file: str) -> None:
            require_contract(objective, again=True)
            refuse_coupling(objective, file)
            task.advance(note=file)

        found = look_at(objective, loader, series, tuple(ends), SAMPLE, check)
    for file, score in found.checkpoints.items():
        if not math.isfinite(score.mean_loss):
            raise ObjectiveError(
                f"expected a finite loss on {found.examples} examples, found {score.mean_loss} at {file}",
                "check that --model, --data and --loss belong to these checkpoints",
            )
    return found


def look_at(
    objective: Objective,
    loader: Loader,
    series: Series,
    ends: tuple[int, ...],
    most: int = LARGE_SAMPLE,
    check: Callable[[str], None] = lambda file: None,
) -> Look:
    """The look at some checkpoints of a series, the last of which is held against guesses.

    Args:
        objective: over the model that ``loader`` puts weights into; it has those of the last one afterwards.
        loader: of weights.
        series: the checkpoints.
        ends: places in it.
        most: examples of the sample.
        check: called with the file whose weights are loaded.

    Raises:
        ModelError: weights do not fit.
        CheckpointError: a checkpoint cannot be read.
    """
    source = objective.source
    sample, weights = _sample(objective, most)
    scores: dict[str, Score] = {}
    answers: NDArray[np.int64] | None = None
    norm = None
    for index in ends:
        checkpoint = series.checkpoints[index]
        state = series.read(index)
        try:
            loader.load(state, checkpoint.file)
        except ModelError as error:
            raise of_other_head(error, state, loader.model, source) from error
        norm = FirstBatchNorm(objective.model) if batch_norms(objective.model) else None
        check(checkpoint.file)
        scores[checkpoint.file], answers = _score(objective, sample, weights)
    uniform, prior, outputs = guesses(objective, sample, weights)
    if (
        prior is not None
        and objective.loss.partition("?")[0].strip() == "mse"
        and prior.right is None
        and prior.mean_loss
    ):
        scores = {
            file: replace(score, explained=1 - score.mean_loss / prior.mean_loss)
            for file, score in scores.items()
        }
    of_examples = source.sequences is None and labels_of(objective, sample[:1]).ndim == 1
    named = source.classes if outputs is not None and of_examples else ()
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(named))
    found = Look(
        len(sample), objective.n, dict(zip(named, map(int, counts), strict=False)), outputs, uniform, prior,
        scores, tuple(loader.fits),
    )  # fmt: skip
    found = replace(found, padded=padded_labels(objective, sample, recorded_pad(series)))
    order = None
    if answers is not None:
        order = permuted(source.labels[sample], answers, weights, source.classes, source.spec)
    doubtful = found.a_guess or (found.last.right is not None and found.last.right < FINE)
    better, untried = better_by_itself(objective, sample, weights), tuple[str, ...]()
    if better is None:
        better, untried = better_prepared(objective, sample, weights, norm, search=order is None and doubtful)
    if better is None and order is None and doubtful:
        better = other_layout(objective, sample, weights)
    if better is not None and prior is not None and better.mean_loss >= prior.mean_loss:
        better = None
    scale, flat = (
        _scale(objective, sample, weights)
        if found.a_guess and prior and found.outputs is None
        else (None, None)
    )
    if scale is not None:
        better = None
    if better is not None and better.data:
        better = by_itself_too(better, objective.model)
    if better is not None and (better.unlike is not None or better.model):
        order = None  # the answers are those to other inputs
    return replace(found, permutation=order, better=better, untried=untried, scale=scale, flat=flat)


def _sample(objective: Objective, examples: int) -> tuple[Ints, Floats]:
    """Positions of examples, spread over the classes, and their weights: together 1, each class as in all the data."""
    source, rng = objective.source, np.random.default_rng(0)
    order = rng.permutation(objective.counted)
    tokens = source.read(order[:1]).dtype.kind == "i"
    most = max(8, TOKENS // max(1, int(np.prod(source.input_shape)))) if tokens else examples
    rows = order[spread(source.labels[order], min(examples, most))]
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


def _score(objective: Objective, sample: Ints, weights: Floats) -> tuple[Score, NDArray[np.int64] | None]:
    """Mean loss and right answers at the weights that are loaded; the answers (n,), where examples have one label."""
    losses, right, answers = [], [], []
    for outputs, targets, positions in _passes(objective, sample):
        losses.append(objective.example_loss(outputs, targets).double().cpu().numpy())
        right.append(right_answers(objective, outputs, positions))
        labels = labels_of(objective, positions)
        if labels.ndim == 1 and class_dimension(objective, outputs, labels) is not None:
            answers.append(outputs.flatten(1).argmax(1).cpu().numpy())
    known = [each for each in right if each is not None]
    return Score(
        float(weights @ np.concatenate(losses)),
        share_right(weights, np.concatenate(known)) if len(known) == len(right) else None,
    ), np.concatenate(answers) if len(answers) == len(right) else None


def _scale(objective: Objective, sample: Ints, weights: Floats) -> tuple[OtherScale | None, float | None]:
    """The scale of targets that the outputs are on, or how little they differ; None where nothing tells."""
    if objective.kind.dense or not np.issubdtype(
        objective.source.read_targets(sample[:1]).dtype, np.floating
    ):
        return None, None
    outputs, targets = [], []
    for found, wanted, positions in _passes(objective, sample):
        outputs.append(found.double().cpu().reshape(len(positions), -1).numpy())
        targets.append(wanted.double().cpu().reshape(len(positions), -1).numpy())
    z, y = np.concatenate(outputs), np.concatenate(targets)
    if z.shape != y.shape:
        return None, None
    return other_scale(z, y, weights), near_their_mean(z, y, weights)


def _passes(objective: Objective, sample: Ints) -> Any:
    import torch

    objective.settle()
    with torch.inference_mode():
        for start in range(0, len(sample), objective.batch_size):
            positions = sample[start : start + objective.batch_size]
            inputs, targets = objective.batch(positions)
            yield objective.model(inputs), targets, positions

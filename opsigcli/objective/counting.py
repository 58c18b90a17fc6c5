"""Which examples count in the mean loss, and how much each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.objective.losses.base import Loss

BLOCK = 1024  # examples whose targets are looked at together
SUM = 1e-3  # by which probabilities of classes may miss 1 in sum
_MISSING = (
    "; labels that -1 marks as missing are for a function of your own that leaves them out (man opsig-losses)"
)


def marked(targets: Tensor, loss: Loss) -> Tensor:
    """Targets in which labels are (B,) where they are one for each example, and ``IGNORED`` stands for every label that
    the loss ignores."""
    if targets.is_floating_point():
        return targets
    if loss.labels == "column":
        targets = targets.reshape(-1)
    elif loss.labels == "one-hot":
        targets = targets.argmax(1)
    if loss.ignore_index == IGNORED:
        return targets
    return targets.masked_fill(targets == loss.ignore_index, IGNORED)


def measured_examples(source: ExampleSource, loss: Loss) -> NDArray[np.bool_]:
    """(N,) False where every label of an example says to ignore it."""
    found = source.measured
    if loss.ignore_index == IGNORED:
        return found
    labelled = [(t != IGNORED).reshape(len(t), -1).any(1) for t in _targets(source, loss)]
    measured: NDArray[np.bool_] = found & torch.cat(labelled).numpy()
    return measured


def example_counts(
    source: ExampleSource, loss: Loss, measured: NDArray[np.bool_]
) -> tuple[NDArray[np.float64] | None, str]:
    """Weights w (N,) of the examples in ``L = Σ w ℓ / Σ w``, and what they are; None where all count alike.

    Raises:
        ObjectiveError: a function of the user's gives weights that are none.
    """
    weights = None if source.weights is None else np.asarray(source.weights, dtype=np.float64)
    words = [] if weights is None else ["its weight in the data"]
    if loss.counts is None or loss.counts(next(_targets(source, loss, size=1))) is None:
        return weights, words[0] if words else ""
    found = []
    for targets in _targets(source, loss):
        counts = loss.counts(targets)
        assert counts is not None  # as for the first example
        found.append(counts.detach().double().cpu())
    of_loss = np.where(measured, torch.cat(found).numpy(), 0.0)
    if not (of_loss >= 0).all() or not np.isfinite(of_loss).all():
        bad = int(np.flatnonzero(~(of_loss >= 0) | ~np.isfinite(of_loss))[0])
        raise ObjectiveError(
            f"expected weights of at least 0, found {of_loss[bad]} for example {source.ids[bad]}: {loss.counts_by}",
            "check what the loss returns beside the losses",
        )
    if np.ptp(of_loss[measured]):  # else it says nothing
        words.append(loss.counts_by)
    return of_loss if weights is None else weights * of_loss, " × ".join(words)


def check_maps(outputs: Tensor, targets: Tensor, source: ExampleSource, loss: Loss, name: str) -> None:
    """Refuse maps of labels that do not fit outputs (B, C, …): other places, or labels of no class.

    Args:
        outputs: of the model, of a few examples.
        targets: theirs, (B, …).
        source: all examples.
        loss: the loss.
        name: its spec, for messages.

    Raises:
        ObjectiveError: they do not fit.
    """
    if outputs.ndim < 2 or outputs.shape[2:] != targets.shape[1:]:
        hint = "let the model put out one row of classes for each label, (B, C, …), or give one label per example"
        if outputs.shape[:-1] == targets.shape or targets.shape == source.input_shape:
            hint = "for outputs (B, L, C), classes last, give --loss lm"
        elif outputs.shape == targets.shape:
            hint = "one label of one-hot rows is y.argmax(1); several labels at once are for --loss bce"
        raise ObjectiveError(
            f"expected logits (B, C, {', '.join(map(str, targets.shape[1:]))}) for labels {tuple(targets.shape)} under "
            f"{name}, found outputs {tuple(outputs.shape)}",
            hint,
        )
    check_labels(outputs.shape[1], source, loss, name)


def check_dense(outputs: Tensor, targets: Tensor, source: ExampleSource, loss: Loss, name: str) -> None:
    """Refuse targets of several numbers that are not what the loss takes: probabilities, of classes or of yes and no.

    Args:
        outputs: of the model, of a few examples.
        targets: theirs.
        source: all examples.
        loss: the loss.
        name: its spec, for messages.

    Raises:
        ObjectiveError: they are others.
    """
    if not loss.dense or (targets.ndim == 1 and not targets.is_floating_point()):
        return
    of_classes = loss.dense == "of classes"
    if of_classes and not targets.is_floating_point():
        return  # maps of labels
    if of_classes and outputs.ndim < 2:
        raise ObjectiveError(
            f"expected outputs (B, C) of several classes for {name}, found one output",
            "one output that is a number is for --loss mse",
        )
    if of_classes and targets.shape != outputs.shape:
        whole = all(bool((block == block.round()).all()) for block in _targets(source, loss))
        column = "[:, 0]" if targets.ndim > 1 and targets.shape[1] == 1 else ""
        raise ObjectiveError(
            f"expected whole numbers as labels under {name}, or probabilities {tuple(outputs.shape)} of the classes; "
            f"found {str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}",
            f"if they are classes, store y{column}.astype('int64')"
            if whole
            else "for numbers as targets give --loss mse",
        )
    for number, block in enumerate(_targets(source, loss)):
        rows = block.reshape(len(block), -1)
        wrong = ((rows < 0) | (rows > 1)).any(1)
        if of_classes:
            wrong |= ((block.sum(1) - 1).abs() > SUM).reshape(len(block), -1).any(1)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            shown = ", ".join(f"{float(v):.4g}" for v in rows[row][:5])
            raise ObjectiveError(
                f"expected targets under {name} to be probabilities"
                f"{' that add up to 1 over the classes' if of_classes else ' from 0 to 1'}; those of example "
                f"{source.ids[number * BLOCK + row]} are {shown}{' …' if rows.shape[1] > 5 else ''}",
                "several labels at once are for --loss bce, other numbers for --loss mse"
                if of_classes
                else "other numbers are for --loss mse" + _MISSING * bool((rows[row] == -1).any()),
            )


def check_tokens(outputs: Tensor, targets: Tensor, source: ExampleSource, loss: Loss, name: str) -> None:
    """Refuse outputs that are no logits over the tokens of the targets.

    Args:
        outputs: of the model, of a few examples.
        targets: theirs, tokens (B, L).
        source: all examples.
        loss: the loss.
        name: its spec, for messages.

    Raises:
        ObjectiveError: wrong shape, or a token beyond the vocabulary.
    """
    if outputs.ndim != 3 or outputs.shape[:2] != targets.shape:
        raise ObjectiveError(
            f"expected logits (B, L, V) for tokens {tuple(targets.shape)}, found outputs {tuple(outputs.shape)}",
            f"{name} is for causal language models; choose another loss for this model",
        )
    if not source.classes or len(source.classes) > outputs.shape[-1]:  # a vocabulary that fits needs no look
        check_labels(outputs.shape[-1], source, loss, name)


def check_labels(classes: float, source: ExampleSource, loss: Loss, name: str) -> None:
    """Refuse labels, maps of them or tokens that are none of the classes that the model has outputs for.

    Args:
        classes: how many there are, C; infinite where labels are any number of at least 0.
        source: all examples.
        loss: the loss.
        name: its spec, for messages.

    Raises:
        ObjectiveError: a label is not from 0 to C − 1 and not one to be ignored.
    """
    first, found = "", set[int]()  # the first wrong label, with its example; and all of them
    lowest, highest, ones = math.inf, -math.inf, True  # of all; they are -1 and 1
    for number, block in enumerate(_targets(source, loss)):
        wrong = ((block < 0) | (block >= classes)) & (block != IGNORED)
        counted = block[block != IGNORED]
        if counted.numel():
            lowest, highest = min(lowest, int(counted.min())), max(highest, int(counted.max()))
            ones = ones and bool((counted.abs() == 1).all())
        if wrong.any() and not found:
            row = int(wrong.reshape(len(block), -1).any(1).nonzero()[0])
            label = int(block[row][wrong[row]].flatten()[0])
            first = f"found label {label} (example {source.ids[number * BLOCK + row]})"
        if len(found) < 2:
            found |= set(block[wrong].tolist())
    if not found:
        return
    if classes == math.inf:
        raise ObjectiveError(
            f"expected labels of at least 0 for one output, {first}",
            "number the labels from 0, or give numbers as floats: y.astype('float32')",
        )
    if ones and lowest == -1:
        raise ObjectiveError(
            f"expected labels from 0, {first}; they are -1 and 1", "number them 0 and 1: y = (y + 1) // 2"
        )
    if classes == 1:
        raise ObjectiveError(
            f"expected outputs (B, C) of several classes for {name}, found one output, {first}",
            "one output that says yes or no is for --loss bce, one that is a number for --loss mse",
        )
    classes_fit = "check the number of classes in --model, or number the labels in --data from 0"
    if lowest == 1 and highest == classes:  # none is 0, and none too many: nothing is to be ignored
        classes_fit = "they begin at 1: number the labels in --data from 0, y = y - 1"
    elif len(found) == 1:
        ignoring = f"{name}{'&' if '?' in name else '?'}ignore_index={min(found)}"
        void = f"give --loss '{ignoring}'" if loss.ignores else f"write {IGNORED} in its place"
        classes_fit = f"if that marks what is to be ignored, {void}; else {classes_fit}"
    raise ObjectiveError(
        f"expected labels from 0 to {classes - 1:.0f} (the model has {classes:.0f} outputs), {first}",
        classes_fit,
    )


def _targets(source: ExampleSource, loss: Loss, size: int = BLOCK) -> Iterator[Tensor]:
    """The targets of all examples in blocks; where examples are tokens of shared sequences, each its own token."""
    for start in range(0, len(source), size):
        positions = np.arange(start, min(start + size, len(source)))
        if source.sequences is not None:
            yield marked(torch.as_tensor(source.labels[positions, None]), loss)
        else:
            yield marked(torch.as_tensor(source.read_targets(positions)), loss)

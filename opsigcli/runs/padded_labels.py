"""Labels that are padding and are not ignored: the mean loss then tells how well padding is told from text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from opsigcli.doubt_records import PaddedLabels
from opsigcli.examples import IGNORED
from opsigcli.objective.counting import marked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.examples import ExampleSource
    from opsigcli.objective.base import Objective
    from opsigcli.records import Ints

BLOCK = 1024  # rows that are looked at together
KNOWN, UNKNOWN = (
    2,
    4,
)  # labels in a run at the end or the beginning of a row, of a token that is known to pad, or not
OFTEN = 0.2  # of the rows have to have such a run, if the token is not known to pad


@dataclass(frozen=True)
class _Text:
    """The sequences of a run's examples, which are these or single tokens of them."""

    objective: Objective
    source: ExampleSource
    rows: Ints  # of the sequences that count

    @classmethod
    def of(cls, objective: Objective) -> _Text:
        shared = objective.source.sequences
        if shared is None:
            return cls(objective, objective.source, np.arange(len(objective.source)))
        return cls(objective, shared.whole, shared.locate(objective.counted)[0])

    def blocks(self) -> Iterator[Ints]:
        for at in range(0, len(self.rows), BLOCK):
            yield self.rows[at : at + BLOCK]

    def inputs(self, rows: Ints) -> NDArray[np.int64]:
        return np.asarray(self.source.read(rows), dtype=np.int64)

    def labels(self, rows: Ints) -> NDArray[np.int64]:
        found = marked(torch.as_tensor(self.source.read_targets(rows)), self.objective.kind)
        return np.asarray(found.numpy(), dtype=np.int64)


def padded_labels(objective: Objective, sample: Ints, pad: int | None) -> PaddedLabels | None:
    """The padding among labels of tokens, with the loss of a sample with and without it; None where there is none.

    Padding is what the data's attention_mask leaves out; else runs of one label at the ends of rows whose inputs are
    that token as well.

    Args:
        objective: with weights; examples are sequences with labels (N, L), or single tokens of such.
        sample: positions of the examples on which, or on whose sequences, the losses are taken.
        pad: the token that pads, if a file says so.
    """
    text = _Text.of(objective)
    first = text.source.read_targets(text.rows[:1])
    if first.ndim != 2 or first.dtype.kind != "i" or len(text.source.input_shape) != 1:
        return None
    # One label of each example, in a column or as one-hot rows, or labels of what is no text.
    if objective.kind.labels or text.source.read(text.rows[:1]).dtype.kind not in "iu":
        return None
    token = _token(text, pad)
    total = labelled = 0
    for rows in text.blocks():
        labels, padding = _padding(text, rows, token)
        total += int(padding.sum())
        labelled += int((labels != IGNORED).sum())
    if not total:
        return None
    shared = objective.source.sequences
    with_all, without = _losses(text, sample if shared is None else shared.locate(sample)[0], token)
    name = objective.loss
    loss = (
        ""
        if token is None or objective.kind.foreign
        else f"{name}{'&' if '?' in name else '?'}ignore_index={token}"
    )
    return PaddedLabels(token, total, labelled, with_all, without, loss)


def _token(text: _Text, pad: int | None) -> int | None:
    """The token that labels end in where rows are padded; None where none is that."""
    ends: Counter[int] = Counter()
    known = {pad, getattr(text.objective.model, "padding", None)}
    for rows in text.blocks():
        labels, inputs = text.labels(rows), text.inputs(rows)
        for backwards in (True, False):
            for token, run in zip(*_runs(labels, inputs, backwards), strict=True):
                ends[token] += run >= (KNOWN if token in known else UNKNOWN)
    often = [
        token for token, count in ends.items() if count and (token in known or count > OFTEN * len(text.rows))
    ]
    return max(often, key=lambda token: ends[token], default=None)


def _runs(
    labels: NDArray[np.int64], inputs: NDArray[np.int64], backwards: bool
) -> tuple[list[int], list[int]]:
    """The last label of each row that is not ignored, or the first, and how many of it there are in a row there."""
    if backwards:
        labels = labels[:, ::-1]
    known = labels != IGNORED
    start = known.argmax(1)
    token = np.take_along_axis(labels, start[:, None], 1)
    places = np.arange(labels.shape[1])
    other = (labels != token) & (places >= start[:, None])
    stop = np.where(other.any(1), other.argmax(1), labels.shape[1])
    run = np.where(known.any(1), stop - start, 0)
    if labels.shape == inputs.shape:  # of one text: labels are its tokens, or those that follow
        inputs = inputs[:, ::-1] if backwards else inputs
        # Of labels that follow, the first of a run at the end stands beside another token.
        within = (places >= start[:, None]) & (places < (start + run - int(backwards))[:, None])
        run = np.where(((inputs == token) | ~within).all(1), run, 0)
    return token[:, 0].tolist(), run.tolist()


def _padding(text: _Text, rows: Ints, token: int | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels (B, L) of some sequences, and which of them are padding."""
    labels = text.labels(rows)
    found = np.zeros(labels.shape, dtype=bool)
    mask = text.source.beside.get("attention_mask")
    if (
        mask is not None
        and mask.shape[1] == labels.shape[1]
        and not getattr(text.objective.model, "from_labels", False)
    ):
        found = mask[rows] == 0
    if token is not None:
        inputs = text.inputs(rows)
        for backwards in (True, False):
            tokens, runs = _runs(labels, inputs, backwards)
            way = slice(None, None, -1 if backwards else 1)
            turned = labels[:, way]
            start = (turned != IGNORED).argmax(1)[:, None]
            places = np.arange(labels.shape[1])
            ours = np.array(tokens) == token
            run = (places >= start) & (places < start + np.array(runs)[:, None]) & ours[:, None]
            found |= run[:, way]
    return labels, found & (labels != IGNORED)


@torch.inference_mode()
def _losses(text: _Text, sample: Ints, token: int | None) -> tuple[float, float]:
    """Mean losses over the labels of some sequences: over all, and over those that are no padding."""
    objective = text.objective
    objective.settle()
    sums, counts = np.zeros(2), np.zeros(2)
    for at in range(0, len(sample), objective.batch_size):
        rows = sample[at : at + objective.batch_size]
        labels, padding = _padding(text, rows, token)
        outputs = objective.model(objective.read(rows, text.source))
        for place, kept in enumerate((labels, np.where(padding, IGNORED, labels))):
            targets = torch.as_tensor(kept, device=objective.device)
            losses = objective.kind.of_examples(outputs, targets).double().cpu().numpy()
            weights = (kept != IGNORED).sum(1)
            sums[place] += float(np.where(weights > 0, losses, 0) @ weights)
            counts[place] += float(weights.sum())
    found = sums / np.where(counts > 0, counts, np.nan)
    return float(found[0]), float(found[1])

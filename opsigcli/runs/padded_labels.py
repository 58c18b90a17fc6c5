"""Labels that are padding and are not ignored: the mean loss then tells how well padding is told from text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from opsigcli.examples import IGNORED
from opsigcli.look_records import PaddedLabels
from opsigcli.objective.counting import marked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.objective.base import Objective
    from opsigcli.records import Ints

BLOCK = 1024  # rows that are looked at together
KNOWN, UNKNOWN = (
    2,
    4,
)  # labels in a run at the end or the beginning of a row, of a token that is known to pad, or not
OFTEN = 0.2  # of the rows have to have such a run, if the token is not known to pad


def padded_labels(objective: Objective, sample: Ints, pad: int | None) -> PaddedLabels | None:
    """The padding among labels of tokens, with the loss of a sample with and without it; None where there is none.

    Padding is what the data's attention_mask leaves out; else runs of one label at the ends of rows whose inputs are
    that token as well.

    Args:
        objective: with weights; labels are (N, L).
        sample: positions on which the losses are taken.
        pad: the token that pads, if a file says so.
    """
    source = objective.source
    first = source.read_targets(objective.counted[:1])
    if (
        source.sequences is not None
        or first.ndim != 2
        or first.dtype.kind != "i"
        or len(source.input_shape) != 1
    ):
        return None
    token = _token(objective, pad)
    total = labelled = 0
    for at in range(0, len(source), BLOCK):
        labels, padding = _padding(objective, np.arange(at, min(at + BLOCK, len(source))), token)
        total += int(padding.sum())
        labelled += int((labels != IGNORED).sum())
    if not total:
        return None
    with_all, without = _losses(objective, sample, token)
    name = objective.loss
    loss = (
        ""
        if token is None or objective.kind.foreign
        else f"{name}{'&' if '?' in name else '?'}ignore_index={token}"
    )
    return PaddedLabels(token, total, labelled, with_all, without, loss)


def _token(objective: Objective, pad: int | None) -> int | None:
    """The token that labels end in where rows are padded; None where none is that."""
    ends: Counter[int] = Counter()
    known = {pad, getattr(objective.model, "padding", None)}
    for at in range(0, len(objective.source), BLOCK):
        positions = np.arange(at, min(at + BLOCK, len(objective.source)))
        labels, inputs = _labels(objective, positions), _inputs(objective, positions)
        for backwards in (True, False):
            for token, run in zip(*_runs(labels, inputs, backwards), strict=True):
                ends[token] += run >= (KNOWN if token in known else UNKNOWN)
    often = [
        token
        for token, rows in ends.items()
        if rows and (token in known or rows > OFTEN * len(objective.source))
    ]
    return max(often, key=lambda token: ends[token], default=None)


def _inputs(objective: Objective, positions: Ints) -> NDArray[np.int64]:
    return np.asarray(objective.source.read(positions), dtype=np.int64)


def _labels(objective: Objective, positions: Ints) -> NDArray[np.int64]:
    found = marked(torch.as_tensor(objective.source.read_targets(positions)), objective.kind)
    return np.asarray(found.numpy(), dtype=np.int64)


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


def _padding(
    objective: Objective, positions: Ints, token: int | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels (B, L) at some positions, and which of them are padding."""
    source, labels = objective.source, _labels(objective, positions)
    found = np.zeros(labels.shape, dtype=bool)
    mask = source.beside.get("attention_mask")
    if (
        mask is not None
        and mask.shape[1] == labels.shape[1]
        and not getattr(objective.model, "from_labels", False)
    ):
        found = mask[positions] == 0
    if token is not None:
        inputs = _inputs(objective, positions)
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
def _losses(objective: Objective, sample: Ints, token: int | None) -> tuple[float, float]:
    """Mean losses over the labels of a sample: over all, and over those that are no padding."""
    objective.settle()
    sums, counts = np.zeros(2), np.zeros(2)
    for at in range(0, len(sample), objective.batch_size):
        positions = sample[at : at + objective.batch_size]
        labels, padding = _padding(objective, positions, token)
        outputs = objective.model(objective.batch(positions)[0])
        for place, kept in enumerate((labels, np.where(padding, IGNORED, labels))):
            targets = torch.as_tensor(kept, device=objective.device)
            losses = objective.kind.of_examples(outputs, targets).double().cpu().numpy()
            weights = (kept != IGNORED).sum(1)
            sums[place] += float(np.where(weights > 0, losses, 0) @ weights)
            counts[place] += float(weights.sum())
    found = sums / np.where(counts > 0, counts, np.nan)
    return float(found[0]), float(found[1])

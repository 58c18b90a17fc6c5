"""Probes opened: ``colour:skyblue``, ``image:FILE``, ``text:WORDS`` or ``example:ID`` as the model is given them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from opsigcli.datasets.drawn import picture_in
from opsigcli.datasets.pictures import picture_of
from opsigcli.errors import ObjectiveError, UsageError
from opsigcli.examples import IGNORED, TakesPictures, TakesText
from opsigcli.probe_records import Probe
from opsigcli.registry import did_you_mean, nearest
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from opsigcli.objective.base import Objective
    from opsigcli.records import Bytes, Floats

OF_CLASSES = (
    "ce",
    "nll",
    "focal",
    "gce",
    "lm",
)  # losses whose outputs are probabilities of classes, or become so by a softmax
KINDS = ("colour", "image", "text", "example")


@dataclass(frozen=True)
class OpenProbe:
    """A probe and what the model is given of it."""

    probe: Probe
    input: NDArray[Any]  # (1, …)
    column: int = -1  # of outputs for each token, that of the one which is followed
    picture: Bytes | None = None


def open_probe(spec: str, objective: Objective) -> OpenProbe:
    """A probe as the model of an objective is given it, sized and normalised as the data are.

    Raises:
        UsageError: it is of no known form, or names no example of the data.
        DatasetError: the data are neither pictures nor text, or the image cannot be read.
        ObjectiveError: the loss does not say how outputs become probabilities of classes.
    """
    if objective.loss.partition("?")[0].strip() not in OF_CLASSES:
        raise ObjectiveError(
            f"expected a loss of classes for --probe {spec}; {objective.loss} does not say what the probability of a "
            "class is",
            f"probes need a run with one of {', '.join(OF_CLASSES)}",
        )
    kind, mark, value = spec.partition(":")
    if not mark or kind not in KINDS or not value:
        close = [f"{name}:…" for name in nearest(kind, list(KINDS))]
        raise UsageError(
            f"expected --probe colour:NAME, image:FILE, text:WORDS or example:ID, found {spec!r}",
            did_you_mean(close, "example: --probe colour:skyblue"),
        )
    if kind == "example":
        return _example(spec, value, objective)
    source = objective.source if objective.source.sequences is None else objective.source.sequences.whole
    if getattr(objective.model, "planes", ()):
        raise ObjectiveError(
            f"expected a model that takes its inputs alone for --probe {spec}; this one is told more of each example",
            "name an example:ID instead",
        )
    if kind == "text":
        if not isinstance(source, TakesText):
            raise UsageError(
                f"expected data of text for --probe {spec}; {source.spec} is none",
                "name an example:ID instead",
            )
        tokens = source.tokens_of(value)
        return _opened(spec, f"the text {value!r}", tokens)
    if not isinstance(source, TakesPictures):
        raise UsageError(
            f"expected data of pictures for --probe {spec}; {source.spec} is none",
            "name an example:ID instead",
        )
    words = f"the colour {value}" if kind == "colour" else f"the picture {Path(value).name}"
    found = source.input_of(picture_in(kind, value, source.input_shape), f"--probe {spec}")
    return _opened(spec, words, found, picture=picture_of(_shown(source, found[0])))


def probabilities(objective: Objective, opened: OpenProbe) -> Floats:
    """Softmax of the outputs for a probe at the weights that are loaded, (C,) float32.

    Raises:
        ObjectiveError: the model fails on it, or its outputs are none of classes.
    """
    objective.settle()
    given = torch.as_tensor(np.array(opened.input)).to(objective.device)
    given = given.to(objective.dtype) if given.is_floating_point() else given
    what = f"a forward pass over {opened.probe.words}"
    with (
        torch.inference_mode(),
        guarded(ObjectiveError, what, "check that the model takes an input by itself"),
    ):
        outputs = _of_one(objective, objective.model(given)[0], opened).double()
        # Of log-probabilities the softmax is what they are the logarithm of.
        found = outputs if objective.kind.takes.startswith("probabilities") else torch.softmax(outputs, 0)
    return np.asarray(found.float().cpu().numpy())


def _of_one(objective: Objective, outputs: Tensor, opened: OpenProbe) -> Tensor:
    """The outputs (C,) of what is followed, from those of one input: (C, …) or (L, C).

    Raises:
        ObjectiveError: they are none of classes.
    """
    if outputs.numel() == len(outputs) > 1 and outputs.ndim:
        return outputs.flatten()
    length = opened.input.shape[-1]
    if outputs.ndim == 2 and objective.kind.of_tokens is not None and len(outputs) == length:
        return outputs[opened.column]
    if outputs.ndim == 2 and outputs.shape[1] == length:
        return outputs[:, opened.column]
    raise ObjectiveError(
        f"expected outputs for classes from {opened.probe.words}, found some of shape {tuple(outputs.shape)}",
        "leave out --probe",
    )


def _example(spec: str, value: str, objective: Objective) -> OpenProbe:
    source = objective.source
    at = (
        np.flatnonzero(source.ids == int(value))
        if value.isdecimal() and len(value) < 19
        else np.zeros(0, int)
    )
    if not len(at):
        close = [str(i) for i in nearest(value, list(map(str, source.ids[:1000].tolist())))]
        raise UsageError(
            f"expected --probe to name an example of {source.spec}, found {value!r}",
            did_you_mean((f"example:{i}" for i in close), "ids are in opsig mine --json"),
        )
    column, words = -1, f"example {value}"
    if source.sequences is not None:
        rows, _, columns = source.sequences.locate(at[:1])
        found, column = objective.read(rows, source.sequences.whole), int(columns[0])
    else:
        found = objective.read(at[:1])
        targets = np.asarray(source.read_targets(at[:1]))[0]
        if targets.ndim and targets.dtype.kind == "i":
            column = int(np.flatnonzero(targets != IGNORED)[-1])
            words += ", its last token"
    label = int(source.labels[at[0]])
    words += f", {source.classes[label]}" if column < 0 and 0 <= label < len(source.classes) else ""
    given = found.cpu().numpy()
    return _opened(spec, words, given, column, source.image(int(at[0])))


def _opened(
    spec: str, words: str, given: NDArray[Any], column: int = -1, picture: Bytes | None = None
) -> OpenProbe:
    digest = hashlib.sha256(f"{given.dtype.str}{given.shape}{column}".encode())
    digest.update(np.ascontiguousarray(given).tobytes())
    return OpenProbe(Probe(spec, words, digest.hexdigest()[:32], column), given, column, picture)


def _shown(source: Any, found: Floats) -> Floats:
    """An input before it was normalised."""
    if source.normalisation is None:
        return found
    mean, deviation = source.normalisation
    shown: Floats = np.clip(found * deviation + mean, 0, 1)
    return shown

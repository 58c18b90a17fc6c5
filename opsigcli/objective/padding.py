"""Padding: which tokens a model of text reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from opsigcli.examples import BESIDE, ExampleSource, ReadsPadded

BLOCK = 1024  # examples that are looked at together


class Padding(NamedTuple):
    """What is done about padding, in words."""

    facts: str = ""  # which tokens are not read, and who says so; "" = all are
    note: str = ""  # what whoever reads the numbers should know


def padding_of(model: nn.Module, source: ExampleSource) -> Padding:
    """Which tokens of the data the model does not read.

    Args:
        model: any; one that ``ReadsPadded`` is given what the data say, and else knows its padding by its number.
        source: the data.
    """
    said = [name for name in BESIDE if name in source.beside and np.ptp(source.beside[name])]
    if not isinstance(model, ReadsPadded):
        told = " and ".join(said)
        return Padding(
            note=f"the data have {told}, which this model is not given: it sees token numbers alone"
            if told
            else ""
        )
    if "attention_mask" in source.beside:
        mask = source.beside["attention_mask"]
        padded = int((mask == 0).sum())
        return Padding(
            f"attention_mask of the data: {padded} of {mask.size} tokens are padding"
            if padded and "attention_mask" in model.takes
            else ""
        )
    if model.padding is None or len(source.input_shape) != 1:
        return Padding()
    padded = sum(
        int(model.pads(torch.as_tensor(source.read(np.arange(at, min(at + BLOCK, len(source)))))).sum())
        for at in range(0, len(source), BLOCK)
    )
    if not padded:
        return Padding()
    of_all = f"{padded} of {len(source) * source.input_shape[0]} tokens"
    if not model.masks:
        return Padding(
            note=f"{of_all}, at the beginning of sequences, have number {model.padding}, the config's pad_token_id, "
            "and are read like others, as the data have no attention_mask. If they are padding, add "
            f"padding={model.padding} to --model; padding=none says that they are not"
        )
    facts = f"number {model.padding} at the ends of sequences is padding, {of_all}"
    return Padding(
        facts,
        f"the data have no attention_mask: {facts}. If they are tokens like others, add padding=none to --model",
    )

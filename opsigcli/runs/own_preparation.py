"""Models of torchvision that normalise their inputs themselves: their builders switch that on with the weights of
ImageNet (``transform_input`` of googlenet and inception_v3), and no checkpoint says that it was on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from opsigcli.doubt_records import Better
from opsigcli.runs.normalisations import CLEARLY, ERRORS, EXAMPLES, apart
from opsigcli.runs.right_answers import right_answers

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints

SWITCH = "transform_input"
EQUAL = "inputs from -1 to 1"  # the normalisation of the data that comes to the same


def better_by_itself(objective: Objective, sample: Ints, weights: Floats) -> Better | None:
    """The model with its switch the other way round, where the loaded weights then do clearly better.

    Args:
        objective: with the weights.
        sample: positions of examples.
        weights: of each, adding up to 1.
    """
    if not isinstance(getattr(objective.model, SWITCH, None), bool):
        return None
    rows = np.random.default_rng(1).permutation(len(sample))[:EXAMPLES]
    positions, share = sample[rows], weights[rows] / weights[rows].sum()
    given, _ = _losses(objective, positions)
    with _switched(objective.model) as option:
        losses, right = _losses(objective, positions)
    before, mean = float(share @ given), float(share @ losses)
    if not (mean < CLEARLY * before and apart(given - losses) > ERRORS):
        return None
    answers = None if right is None else float(share @ right)
    return Better(
        f"a model of {option}", objective.source.spec, mean, answers, before, (EQUAL,), model=option
    )


def by_itself_too(better: Better, model: Any) -> Better:
    """A better way for the inputs, with the option of the model that comes to the same, where there is one."""
    if (
        better.model
        or getattr(model, SWITCH, None) is not False
        or EQUAL not in (better.name, *better.others)
    ):
        return better
    return replace(better, others=(f"{SWITCH}=true in --model", *better.others))


def _losses(objective: Objective, positions: Ints) -> tuple[Floats, Floats | None]:
    objective.settle()
    with torch.inference_mode():
        inputs, targets = objective.batch(positions)
        outputs = objective.model(inputs)
        losses = objective.example_loss(outputs, targets).double().cpu().numpy()
        return losses, right_answers(objective, outputs, positions)


@contextmanager
def _switched(model: Any) -> Iterator[str]:
    """For a while, the switch the other way round; the option that sets it so."""
    own: bool = getattr(model, SWITCH)
    setattr(model, SWITCH, not own)
    try:
        yield f"{SWITCH}={str(not own).lower()}"
    finally:
        setattr(model, SWITCH, own)

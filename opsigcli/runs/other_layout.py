"""Pictures with their channels at the other end: a network that flattens its inputs takes both, and means one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.doubt_records import Better
from opsigcli.errors import ObjectiveError, OpsigError
from opsigcli.runs.normalisations import CLEARLY, ERRORS, EXAMPLES, apart, losses_prepared
from opsigcli.runs.right_answers import right_answers
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints

COLOURS = (3, 4)  # channels of pictures; with one channel both are the same numbers in the same order
FIRST, LAST = (
    (0, 3, 1, 2),
    (0, 2, 3, 1),
)  # how inputs (B, H, W, C) come to have their channels first, and back


def other_layout(objective: Objective, sample: Ints, weights: Floats) -> Better | None:
    """The other layout, with which the last checkpoint does clearly better; None where there is no such one.

    Args:
        objective: over the model with the last checkpoint's weights.
        sample: positions.
        weights: of each, adding up to 1.
    """
    shape = objective.source.input_shape
    if len(shape) != 3 or (shape[0] in COLOURS) == (shape[2] in COLOURS):
        return None
    order = FIRST if shape[2] in COLOURS else LAST
    rows = np.random.default_rng(1).permutation(len(sample))[:EXAMPLES]
    positions, share = sample[rows], weights[rows] / weights[rows].sum()
    inputs = objective.source.read(positions)
    try:
        with guarded(ObjectiveError, "a pass with the channels at the other end"):
            given, *_ = losses_prepared(objective, inputs, positions, None)
            losses, outputs, _ = losses_prepared(objective, inputs.transpose(order), positions, None)
    except OpsigError:  # a model that knows where its channels are
        return None
    mean, as_given = float(share @ losses), float(share @ given)
    if not (mean < CLEARLY * as_given and apart(given - losses) > ERRORS):
        return None
    right = right_answers(objective, outputs, positions)
    name = f"channels {'first' if order == FIRST else 'last'}, as by x.transpose{order},"
    return Better(name, "", mean, None if right is None else float(share @ right), as_given)

"""Derivatives of the mean loss that go through BatchNorm's statistics, as the steps of training do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.objective.batch_norm import batch_norms

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Ints

LEAST = 32  # examples in a batch whose statistics are used, at least
# Times what a batch may take elsewhere: statistics of fewer examples make another function (λ₁ of 500 pictures by those
# of 250 was .4 to .8 % off).
TIMES = 4


def couple(objective: Objective, positions: Ints, seed: int = 0) -> tuple[Ints, int]:
    """From now on derivatives go through the statistics of random batches as large as memory allows, of one at best.

    Args:
        objective: with a BatchNorm.
        positions: of the examples.
        seed: of the batches.

    Returns:
        The positions in the order of the batches, and how many these are.
    """
    n = objective.batch_size = len(positions)
    fit_micro_batch(objective, objective.parameters, times=TIMES)
    batches = -(-n // max(objective.batch_size, LEAST))
    if batches > 1:
        positions = np.random.default_rng(seed).permutation(positions)
    objective.batch_size = -(-n // batches)
    objective.batch_statistics = True
    return positions, batches


@contextmanager
def through_statistics(
    objective: Objective, mode: str | None, positions: Ints | None = None
) -> Iterator[Ints]:
    """Within this context derivatives of the mean loss go through BatchNorm's statistics where these are the batch's.

    Held fixed, the curvature can be several times as large, and is not what the steps of training met.

    Args:
        objective: with weights loaded.
        mode: batch, or any other, with which nothing changes.
        positions: of the examples (default: all that count).

    Yields:
        Their positions, in the order of the batches.
    """
    positions = objective.counted if positions is None else positions
    if mode != "batch" or not batch_norms(objective.model):
        yield positions
        return
    size = objective.batch_size
    try:
        yield couple(objective, positions)[0]
    finally:
        objective.batch_size, objective.batch_statistics = size, False

"""Refuse losses that depend on which other examples are in the batch, before an hour is spent."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.objective.base import Objective
from opsigcli.objective.convert import convert
from opsigcli.objective.evaluate import reduced
from opsigcli.objective.module_caches import clear_caches

TOLERANCE = 1e-5  # of a loss; in float64 kernels for batches of other sizes differ by far less
COARSE = 1e-3  # in float32, where a model does not run in float64
PIECES = 3


def refuse_coupling(objective: Objective, where: str) -> bool:
    """Evaluate a batch of real size whole, and in another order in three pieces, at the weights that are loaded.

    Contrastive losses, capacity-limited experts and statistics of the batch couple examples: then no example has a
    loss of its own, and what is measured depends on the batch size. What differs in float32 is looked at again in
    float64, where that runs, as rounding differs too, and weights that diverged magnify it.

    Args:
        objective: with a checkpoint's weights.
        where: the checkpoint, for the message.

    Returns:
        Whether the losses were finite, so that something could be told.

    Raises:
        ObjectiveError: the batch matters.
    """
    order = np.random.default_rng(0).permutation(objective.counted)[: objective.batch_size]
    clear_caches(objective.model.eval())
    whole, pieces = _both(objective, order)
    if not bool((torch.isfinite(whole) & torch.isfinite(pieces)).any()):
        return False
    _refuse_coupled_weights(objective, order, where)
    worst = _worst(whole, pieces, TOLERANCE)
    if worst is None:
        return True
    twin = _wide(objective)
    if twin is not None:
        whole, pieces = _both(twin, order)
    worst = _worst(whole, pieces, COARSE if twin is None else TOLERANCE)
    if worst is None:
        return True
    raise ObjectiveError(
        f"expected losses that depend on the example alone; at {where} that of example "
        f"{objective.source.ids[order[worst]]} is {float(whole[worst]):.5g} in a batch of {len(order)} and "
        f"{float(pieces[worst]):.5g} in one of {-(-len(order) // PIECES)} others",
        "contrastive losses and other negatives in the batch, experts of limited capacity, and statistics of the batch "
        "couple examples: give a --model without (capacity large enough that no token is dropped, statistics that are "
        "kept), or a --loss against a fixed set of negatives",
    )


@torch.inference_mode()
def _refuse_coupled_weights(objective: Objective, order: NDArray[np.int64], where: str) -> None:
    """Hold the weights that a function of the user's returns in one batch, as above, against those kept for the mean.

    Raises:
        ObjectiveError: they depend on the batch, or on the outputs.
    """
    kind = objective.kind
    if kind.counts is None or kind.counts_beside is None:
        return

    def beside(positions: NDArray[np.int64]) -> Tensor | None:
        assert kind.counts_beside is not None
        outputs = objective.model(objective.batch(positions)[0])
        found = kind.counts_beside(outputs, objective.bare_targets(positions))
        return None if found is None else found.double().cpu()

    whole, alone = beside(order), kind.counts(objective.bare_targets(order))
    if whole is None or alone is None:
        return
    part = order[: -(-len(order) // PIECES)]
    others = beside(part)
    assert others is not None
    for how, first, second in (
        (f"{len(order)} and {{:.5g}} in one of {len(part)}", whole[: len(part)], others),
        (f"{len(order)} and {{:.5g}} with outputs of zeros", whole, alone.double().cpu()),
    ):
        worst = _worst(first, second, COARSE)
        if worst is not None:
            raise ObjectiveError(
                f"expected weights that depend on the targets of the example alone; at {where} that of example "
                f"{objective.source.ids[order[worst]]} is {float(first[worst]):.5g} in a batch of "
                f"{how.format(float(second[worst]))}: {kind.counts_by}",
                "return them as they are before they are divided by their sum: opsig divides by it, over all examples; "
                "what depends on the outputs belongs to the losses",
            )


@torch.inference_mode()
def _both(objective: Objective, order: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Losses (B,) of the examples in ``order``: in one batch, and in pieces of another order."""
    mixed = np.random.default_rng(1).permutation(len(order))
    pieces = torch.empty(len(order), dtype=torch.float64)
    with reduced("float32", objective.device.type):
        whole = _losses(objective, order)
        for part in np.array_split(mixed, min(PIECES, len(order))):
            pieces[torch.as_tensor(part)] = _losses(objective, order[part])
    return whole, pieces


def _losses(objective: Objective, positions: NDArray[np.int64]) -> Tensor:
    inputs, targets = objective.batch(positions)
    if inputs.is_floating_point():
        inputs = inputs.to(objective.dtype)
    return objective.example_loss(objective.model(inputs), targets).double().cpu()


def _worst(whole: Tensor, pieces: Tensor, tolerance: float) -> int | None:
    """The example whose losses differ most, relative to itself and to a typical loss; None within the tolerance."""
    finite = torch.isfinite(whole) & torch.isfinite(pieces)
    if not finite.any():
        return None
    typical = whole[finite].abs().median()
    gap = ((whole - pieces).abs() / torch.maximum(whole.abs(), typical).clamp_min(1e-6)).where(finite, 0)
    worst = int(gap.argmax())
    return worst if float(gap[worst]) > tolerance else None


def _wide(objective: Objective) -> Objective | None:
    """The same in float64; None where the model does not run so."""
    twin = copy.copy(objective)
    try:
        twin.dtype, twin._resident = torch.float64, None
        twin.model = convert(copy.deepcopy(objective.model), objective.device, torch.float64)
        _losses(twin, objective.counted[:1])
    except (RuntimeError, TypeError, copy.Error):
        return None
    return twin

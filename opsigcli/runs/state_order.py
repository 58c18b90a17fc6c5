"""Which module each piece of an optimizer's state belongs to, where modules of equal shapes could be exchanged.

Checkpoints number parameters without naming them. An averaged gradient of a module goes with its gradient and against
its steps, and has nothing to do with those of another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import CheckpointError
from opsigcli.runs.state_values import average

if TYPE_CHECKING:
    from torch import Tensor

CLEAR = 0.2  # of a mean cosine, by which another order has to be the better, beside chance
CHANCE = 4.0  # standard deviations of a cosine of random vectors

State = Mapping[str, Mapping[str, Any]]


def owners(state: State, step: Mapping[str, Tensor] | None, gradient: Mapping[str, Tensor]) -> dict[str, str]:
    """For each parameter the one under whose name its state stands: another where another order is clearly right.

    Args:
        state: by parameter, as the model's order has it.
        step: the change of each parameter from the checkpoint before; None where there is none.
        gradient: of the mean loss, by parameter.

    Raises:
        CheckpointError: it follows another order for some modules, and cannot be told for others.
    """
    found, doubtful, changed = {name: name for name in state}, [], []
    for modules in _exchangeable(state):
        scores, size = _scores(modules, state, step, gradient)
        order = _best(scores)
        places = np.arange(len(modules))
        moved = np.flatnonzero(order != places)
        needed = CLEAR + CHANCE / math.sqrt(size)
        gain = float((scores[places, order] - scores[places, places])[moved].mean()) if len(moved) else 0.0
        if len(moved) and gain > needed:
            changed.append(modules[int(moved[0])])
            for place, target in zip(places, order, strict=True):
                for name, other in zip(modules[place], modules[target], strict=True):
                    found[other] = name
        elif len(moved) or needed > 1:  # vectors so short are alike by chance
            doubtful.append(modules[0])
    if changed and doubtful:
        raise CheckpointError(
            f"the optimizer's state follows another order than the model for {changed[0][0]!r}, and cannot be told for "
            f"{doubtful[0][0]!r}",
            "make the optimizer from model.named_parameters(), which names them in its state",
        )
    return found


def _exchangeable(state: State) -> list[list[tuple[str, ...]]]:
    """Modules, as the names of their parameters, that have parameters of the same names and shapes."""
    modules: dict[str, list[str]] = {}
    for name in state:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    kinds: dict[tuple[Any, ...], list[tuple[str, ...]]] = {}
    for names in modules.values():
        averages = [average(state[name]) for name in names]
        if all(one is not None for one in averages):
            what = (
                *(name.rpartition(".")[2] for name in names),
                *(tuple(a.shape) for a in averages if a is not None),
            )
            kinds.setdefault(what, []).append(tuple(names))
    return [found for found in kinds.values() if len(found) > 1]


def _scores(
    modules: list[tuple[str, ...]],
    state: State,
    step: Mapping[str, Tensor] | None,
    gradient: Mapping[str, Tensor],
) -> tuple[NDArray[np.float64], int]:
    """``(i, j)``: the mean cosine of state i with gradient and step back of module j; and the length of the vectors."""
    averages = _unit([[average(state[name]) for name in names] for names in modules])
    scores = [averages @ _unit([[gradient.get(name) for name in names] for names in modules]).T]
    if step is not None:
        scores.append(-averages @ _unit([[step.get(name) for name in names] for names in modules]).T)
    return np.mean(scores, axis=0), averages.shape[1]


def _unit(rows: list[list[Any]]) -> NDArray[np.float64]:
    """Rows of tensors as vectors of length 1, or 0 where they vanish or are not known."""
    import torch

    flat = [
        torch.cat([x.double().cpu().reshape(-1) for x in row]).numpy()
        if all(x is not None for x in row)
        else None
        for row in rows
    ]
    size = max(len(x) for x in flat if x is not None) if any(x is not None for x in flat) else 1
    found = np.stack([np.zeros(size) if x is None else x for x in flat])
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return unit


def _best(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each state the module it goes with, all together."""
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(scores, maximize=True)[1], dtype=np.int64)

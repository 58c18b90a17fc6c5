"""Whether an optimizer's state holds what updates can be computed from, before anything is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.errors import CheckpointError
from opsigcli.optimizers.base import plain_value

if TYPE_CHECKING:
    from torch import Tensor

AVERAGES = ("exp_avg", "momentum_buffer")  # of gradients, in a parameter's state
PER_WEIGHT = (
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "sum"),
    "exp_inf",
)  # keys of what torch's rules keep of each weight: numbers, as many as the weights
COUNT, MAY_LACK = "step", "momentum_buffer"  # of updates; what torch keeps as None before it is first needed


def listed(group: Mapping[str, Any]) -> list[Any]:
    """What a parameter group calls its parameters; [] where it lists none."""
    found = group.get("params")
    return list(found) if isinstance(found, list | tuple) else []


def average(entry: Mapping[str, Any]) -> Tensor | None:
    """The averaged gradient in a parameter's state; None where there is none, or something else by its name."""
    import torch

    found = next((entry[key] for key in AVERAGES if entry.get(key) is not None), None)
    return found if isinstance(found, torch.Tensor) and found.layout == torch.strided else None


def require_numbers(state: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse averages of gradients that are no finite numbers in their weights' shape, and steps that are no count.

    Args:
        state: of the optimizer, by parameter.
        shapes: of the model's parameters, by name.

    Raises:
        CheckpointError: they are something else, such as several buffers, codes, or not finite.
    """
    for name, entry in state.items():
        for key in (*PER_WEIGHT, COUNT):
            if key not in entry or (entry[key] is None and key == MAY_LACK):
                continue
            what = _no_count(entry[key]) if key == COUNT else _unlike(entry[key], shapes[name])
            if what:
                wanted = "be a count" if key == COUNT else "hold a finite number for each of its weights"
                raise CheckpointError(
                    f"expected {key} of {name} in the optimizer's state to {wanted}, found {what}",
                    "the state is damaged, or that of another rule with the same keys",
                )


def alien(name: str, error: Exception) -> CheckpointError:
    """What to say of a state that torch takes as it is, and then cannot step with."""
    return CheckpointError(
        f"the checkpoint's optimizer state is not one of {name} ({error})", "check --optimizer"
    )


def _no_count(found: Any) -> str:
    """What it is, where it is no number of updates; "" where it is."""
    number = plain_value(found)
    if not isinstance(number, int | float):
        return f"a value of type {type(found).__name__}"
    return "" if 0 <= number < math.inf else f"{number}"


def _unlike(found: Any, shape: tuple[int, ...]) -> str:
    """What it is, where it is no dense tensor of finite numbers of that shape; "" where it is."""
    import torch

    if not isinstance(found, torch.Tensor):
        return f"a value of type {type(found).__name__}"
    if not found.is_floating_point() or found.layout != torch.strided:
        kind = str(found.dtype).removeprefix("torch.")
        return f"numbers of type {kind}" + (", sparse" if found.layout != torch.strided else "")
    if tuple(found.shape) != tuple(shape):
        return f"the shape {tuple(found.shape)} in place of {tuple(shape)}"
    return "" if bool(torch.isfinite(found).all()) else "numbers that are not finite"

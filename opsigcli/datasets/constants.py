"""Mean and deviation of each channel over a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.specs import Value, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray


def channel_constants(
    blocks: Iterable[NDArray[Any]], channels: int, count: int, scale: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, in float64.

    Args:
        blocks: raw inputs (B, C, …), a piece at a time; at least one.
        channels: C.
        count: numbers in each channel over all inputs.
        scale: what raw numbers are divided by.
    """
    # Sums of differences from one value of the channel: no digits are lost when the mean is large, and a constant
    # channel has a deviation of exactly 0.
    origin: NDArray[np.float64] | None = None
    total, squares = np.zeros(channels), np.zeros(channels)
    for block in blocks:
        values = block.reshape(len(block), channels, -1).astype(np.float64) / scale
        origin = values[0, :, :1].copy() if origin is None else origin
        values -= origin
        total += values.sum(axis=(0, 2))
        squares += np.square(values).sum(axis=(0, 2))
    assert origin is not None  # a listing is never empty
    shift = total / count
    std = np.sqrt(np.maximum(squares / count - shift**2, 0))
    return tuple((origin[:, 0] + shift).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def with_constants(spec: str, transform: Mapping[str, Any]) -> str:
    """A spec whose ``standardize=channel`` is by the constants of other data; any other spec as it is.

    Args:
        spec: of data that belong to a run.
        transform: what was done to the data that the run was trained on.
    """
    parsed = parse(spec)
    if parsed.options.get("standardize") != "channel" or transform.get("standardize") != "channel":
        return spec
    kept = {key: value for key, value in parsed.options.items() if key != "standardize"}
    constants: dict[str, Value] = {key: list(transform[key]) for key in ("mean", "std")}
    return str(replace(parsed, options=kept | constants))


def own_constants_removed(inputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """``(x − m) / s`` of each input's own mean and deviation (``image``), or its channels' means and 1 (``colour``).

    Args:
        inputs: (B, C, …).
        kind: one of ``OWN_MEANS``.
    """
    axes = tuple(range(2 if kind == "colour" else 1, inputs.ndim))
    mean = inputs.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = np.float64(1) if kind == "colour" else inputs.std(axis=axes, keepdims=True, dtype=np.float64)
    found: NDArray[np.float32] = ((inputs - mean) / np.where(std > 0, std, 1)).astype(np.float32)
    return found

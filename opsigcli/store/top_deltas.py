"""The largest loss deltas of each step, as the columns of a store hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from opsigcli.mining_records import (
    TopDeltas,
)


def top_deltas(columns: Mapping[str, NDArray[Any]]) -> tuple[TopDeltas, ...]:
    """The top deltas of every step; () where there are none.

    Args:
        columns: ``steps`` (R, 2); ``up_ids``, ``up_deltas``, ``down_ids`` and ``down_deltas`` (R, k), of which an id of
            −1 stands for no example.
    """
    found = []
    for row, (step, following) in enumerate(columns.get("steps", ())):
        up, down = columns["up_ids"][row] >= 0, columns["down_ids"][row] >= 0
        risen = columns["up_ids"][row][up], columns["up_deltas"][row][up]
        fallen = columns["down_ids"][row][down], columns["down_deltas"][row][down]
        found.append(TopDeltas(int(step), int(following), *risen, *fallen))
    return tuple(found)

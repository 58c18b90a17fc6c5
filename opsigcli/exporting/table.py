"""The noun of this room: a table whose rows are read when they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 16384  # rows at a time: as many examples as a chunk of a store holds
CELLS = 1 << 21  # at most, of a matrix at a time

Read = Callable[[int, int], Any]  # the values of rows from … to …: an array, or a list of texts


@dataclass(frozen=True)
class Column:
    """One named value of every row. A number that is missing is NaN, and of "maybe", true or false or missing, None."""

    name: str
    kind: Literal["int", "float", "float32", "bool", "maybe", "text"]
    read: Read


@dataclass(frozen=True)
class Grid:
    """Further columns, all of them float32: K numbers of every row, whose names are made from what they are of."""

    name: str  # of the whole
    names: tuple[str, ...]  # (K,)
    axis: tuple[str, NDArray[np.int64]]  # name and values of what the columns are of: steps (K,) or (K, 2)
    read: Callable[[int, int], NDArray[np.float32]]  # rows from … to …: (K, B)
    column: Callable[[int], Iterator[NDArray[np.float32]]]  # one column, in pieces


@dataclass(frozen=True)
class Table:
    """Rows that are read block by block."""

    rows: int
    columns: tuple[Column, ...]
    grid: Grid | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, in order."""
        return (*(column.name for column in self.columns), *(self.grid.names if self.grid else ()))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First row of every block, and the one after its last."""
        width = len(self.grid.names) if self.grid else 1
        size = max(min(BLOCK, CELLS // max(width, 1)), 1)
        for start in range(0, self.rows, size):
            yield start, min(start + size, self.rows)


def of_records(rows: list[dict[str, Any]], kinds: dict[str, str]) -> Table:
    """A table of rows that are in memory.

    Args:
        rows: values by name; None is missing.
        kinds: the kind of every column, by name, in their order.
    """

    def column(name: str, kind: Any) -> Column:
        def read(start: int, stop: int) -> Any:
            values = [row[name] for row in rows[start:stop]]
            if kind == "maybe":
                return values
            if kind == "text":
                return ["" if value is None else str(value) for value in values]
            if kind.startswith("float"):
                return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
            return np.array(values, dtype={"int": np.int64, "bool": np.bool_}[kind])

        return Column(name, kind, read)

    return Table(len(rows), tuple(column(name, kind) for name, kind in kinds.items()))

"""Names of examples that are made when they are looked at: of many millions of tokens few are ever read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Ints

BLOCK = 4096  # made at once


class LazyNames(Sequence[str]):
    """The names of N examples.

    Args:
        count: N.
        at: gives the names at some increasing positions.
    """

    def __init__(self, count: int, at: Callable[[Ints], Iterator[str]]) -> None:
        self._count, self._at = count, at

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self._at(np.arange(*index.indices(self._count))))
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"{index} is beyond {self._count} names")
        return next(self._at(np.array([place])))

    def __iter__(self) -> Iterator[str]:
        for at in range(0, self._count, BLOCK):
            yield from self[at : at + BLOCK]

"""Alike pieces of work, several at a time, with results in their order whatever the number of threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import current_thread
from typing import TYPE_CHECKING, TypeVar

from opsigcli.cores import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

NAME = "beside"  # of the threads
AT_ONCE = min(4, cores())  # threads; products of matrices, sorts and rotations leave Python's lock


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``work(item)`` for each item, in order; no more than ``AT_ONCE`` are begun beyond those that were asked for.

    Who asks for no more, or is interrupted, waits for the pieces begun and no others. What is such a piece itself does
    its own one after the other.
    """
    if current_thread().name.startswith(NAME):
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(AT_ONCE, NAME) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

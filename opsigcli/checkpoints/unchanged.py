"""Whether a file is still the one that was looked at, without reading it again; and what was found in such files."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_SETTLED = 2.0  # seconds after which a file that is written again has another time stamp on any file system

Found = TypeVar("Found")


def identity(status: os.stat_result) -> tuple[int, int, int, int] | None:
    """What changes when a file does: device, inode, size, and time of change in ns.

    Returns:
        None for a file that was changed a moment ago, as another change might leave no trace in these.
    """
    if abs(time.time() - status.st_mtime) < _SETTLED:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Kept(Generic[Found]):
    """What was found in files, kept up to a bound; what was not used for longest goes first.

    Args:
        bound: on the sum of weights.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._found: OrderedDict[Hashable, tuple[Found, int]] = OrderedDict()
        self._lock = threading.Lock()  # checkpoints are read by several threads

    def get(self, key: Hashable | None, find: Callable[[], tuple[Found, int]]) -> Found:
        """What ``find`` gave for ``key`` before, or gives now.

        Args:
            key: made of identities of files; None is not kept.
            find: gives what is found, and its weight.
        """
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key][0]
        found, weight = find()
        if key is not None:
            with self._lock:
                self._found[key] = found, weight
                total = sum(weight for _, weight in self._found.values())
                while total > self.bound:
                    total -= self._found.popitem(last=False)[1][1]
        return found

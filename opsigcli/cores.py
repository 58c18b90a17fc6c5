"""How many cores there are for threads of this process."""

from __future__ import annotations

import os


def cores() -> int:
    """Those that the process is bound to, by a batch system or ``taskset``, where that is known; else the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""How the process gets memory from the system."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt (malloc.h), in bytes.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT = 2**31 - 1  # free memory at the top that is not handed back
PADDING = 64 << 20  # asked for at a time
LARGE = (1 << 30, 32 << 20)  # blocks from here on are mapped on their own; older versions take 32 MiB at most


def keep_freed_memory() -> bool:
    """Let the process keep the memory it frees, and say whether it could.

    Activations of a batch are some megabytes each. By default glibc hands such blocks back to the system when they
    are freed and asks for them again, page by page, for the next batch. The largest amount used stays what it is.
    Other allocators are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none that is shared
        return False
    large = any(mallopt(MMAP_THRESHOLD, size) for size in LARGE)
    return large and bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(TOP_PAD, PADDING))

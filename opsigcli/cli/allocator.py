"""How the process gets memory from the system."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt (malloc.h), in bytes.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT = 256 << 20  # free memory at the top that is not handed back
PADDING = 64 << 20  # asked for at a time
LARGE = (64 << 20, 32 << 20)  # blocks from here on go back to the system; older versions take 32 MiB at most


def keep_freed_memory() -> int:
    """Let the process keep the memory it frees; the size of the blocks up to which it does, 0 where it cannot.

    Activations of a batch are some megabytes each. By default glibc hands such blocks back to the system when they
    are freed and asks for them again, page by page, for the next batch. Whole data sets still go back. Other
    allocators are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none that is shared
        return 0
    large = next((size for size in LARGE if mallopt(MMAP_THRESHOLD, size)), 0)
    return large if large and mallopt(TRIM_THRESHOLD, KEPT) and mallopt(TOP_PAD, PADDING) else 0

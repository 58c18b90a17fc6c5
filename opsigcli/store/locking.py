"""The lock of a file, where the operating system has locks and where it has none."""

from __future__ import annotations

import errno
from pathlib import Path

import filelock

# What network file systems say that have no locks; 524 is Linux's own ENOTSUPP, which has no name in Python.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, 524}


def acquired(place: Path, wait: float) -> filelock.BaseFileLock:
    """The lock at a place, held; of a file beside it that says so itself, where the file system has no locks.

    Raises:
        OSError: its folder cannot be written, or (as filelock.Timeout) another process holds it.
    """
    lock: filelock.BaseFileLock = filelock.FileLock(place)
    try:
        lock.acquire(timeout=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # a Timeout has none
            raise
        lock = filelock.SoftFileLock(place.with_name(f"{place.name}ed"))
        lock.acquire(timeout=wait)
    return lock

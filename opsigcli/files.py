"""Files from elsewhere: opened only where they are regular files, and read up to a bound.

A named pipe, a socket or a device under the name of a file would keep a reader waiting, or feed it without end.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

LARGEST_TEXT = 1 << 28  # bytes of a file that is read as a whole
MOST_ENTRIES = 1 << 21  # of a folder that is looked through
# Opening a pipe waits for its other end, and opening a terminal may make it ours, unless these say otherwise.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


class NotAFile(OSError):
    """Something that is no regular file stands where one should."""


class TooLarge(OSError):
    """A file or folder beyond the bound up to which it is read."""


def strange_kind(path: str | Path) -> str:
    """What is at ``path`` when that is neither a regular file nor a folder; "" for these, and for nothing."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  (called for every file of a large folder)
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else kind_of(mode)


def open_file(path: str | Path) -> BufferedReader:
    """The regular file at ``path``, opened for reading.

    Raises:
        NotAFile: it is a pipe, a socket, a device or a folder.
        OSError: the system does not let us open it, or the path is none.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path has no character 0", str(path))
    _require_file(path, os.stat(path).st_mode)  # noqa: PTH116  (a device is not even opened)
    # The file closes its handle, and nobody else: a signal between the two would have it closed twice.
    return open(path, "rb", opener=_open_handle)


def _open_handle(path: str, _flags: int) -> int:
    handle = os.open(path, _FLAGS)
    try:
        _require_file(path, os.fstat(handle).st_mode)  # it may be another one by now
    except OSError:
        os.close(handle)
        raise
    return handle


def read_file(path: str | Path, largest: int = LARGEST_TEXT) -> bytes:
    """All of the regular file at ``path``.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        NotAFile: it is a pipe, a socket, a device or a folder.
        TooLarge: it has more bytes.
        OSError: the system does not let us read it.
    """
    with open_file(path) as file:
        # Some files of the system say 0 and give more.
        size = os.fstat(file.fileno()).st_size
        found = file.read(largest + 1) if size <= largest else None
    if found is None or len(found) > largest:
        raise TooLarge(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
    return found


def require_files(folder: str | Path) -> None:
    """Refuse a folder that a library will read by itself, where something in it is neither file nor folder.

    Raises:
        NotAFile: a pipe, a socket or a device is in it.
        TooLarge: it has more than ``MOST_ENTRIES`` entries.
    """
    seen = 0
    for place, _, names in os.walk(folder):
        seen += len(names) + 1
        if seen > MOST_ENTRIES:
            raise TooLarge(errno.EFBIG, f"it holds more than {MOST_ENTRIES:,} entries", str(folder))
        for name in names:
            path = f"{place}{os.sep}{name}"
            if kind := strange_kind(path):
                raise NotAFile(errno.EINVAL, f"it is {kind}, not a regular file", path)


def _require_file(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFile(errno.EINVAL, f"it is {kind_of(mode)}, not a regular file", str(path))


def kind_of(mode: int) -> str:
    """What a file of this mode is, in words."""
    return next((name for test, name in _KINDS if test(mode)), "something else")

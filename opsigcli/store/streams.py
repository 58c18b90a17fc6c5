"""Places that take bytes and are no files: pipes, terminals, and the names of standard output."""

from __future__ import annotations

import os
import stat
import sys
from io import BufferedWriter
from pathlib import Path

from opsigcli.errors import UsageError

STDOUT = Path("-")  # as a file that is written


def takes_bytes(path: Path) -> bool:
    """Whether a path is a pipe or a character device itself, or a name for an open file: the system's own, or ``-``."""
    if path == STDOUT:
        return True
    own = path.absolute().parent in (Path("/dev"), Path("/dev/fd"))
    try:
        mode = path.stat().st_mode if own else path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or (own and stat.S_ISREG(mode))


def opened_stream(path: Path) -> BufferedWriter:
    """What takes bytes, opened for writing."""
    if path == STDOUT:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed before comes before
        return open(path, "wb", opener=_open_stdout)
    return open(path, "wb", opener=_open_stream)


def _open_stdout(_path: str, _flags: int) -> int:
    """Standard output as it stands: opened anew by a name, a file that it goes to would be written from its start."""
    return os.dup(1)


def _open_stream(path: str, _flags: int) -> int:
    """A handle of a pipe or a device; opening a pipe that nobody reads would wait without end."""
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    os.set_blocking(handle, True)
    return handle


def refuse_on_terminal(path: Path, what: str) -> None:
    """Refuse bytes that are no text where a terminal would show them.

    Args:
        path: where they would go.
        what: they are: ``npz``.

    Raises:
        UsageError: it is standard output, and that is a terminal.
    """
    if path in (STDOUT, Path("/dev/stdout")) and os.isatty(1):
        raise UsageError(
            f"expected a file or a pipe for {what}, which is no text; found a terminal", "name a file"
        )


def refuse_stdout(path: Path | None, flag: str) -> None:
    """Refuse ``-`` where standard output has something else already.

    Args:
        path: that is written.
        flag: the option that names it.

    Raises:
        UsageError: it is ``-``.
    """
    if path == STDOUT:
        raise UsageError(
            f"expected {flag} to name a file, found -: standard output has the result", "name a file"
        )

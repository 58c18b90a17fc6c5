"""Files beside a store: made anew, never through a link, in a folder that is opened once.

Whoever may write into the folder of a store can put a link under any name there that opsig will use. So a file is made
only where none is, opened only where it is no link, and removed only by its name: what a link points at stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from opsigcli.errors import StoreError, UsageError
from opsigcli.files import kind_of, open_file, strange_kind
from opsigcli.store.seal import SIGNATURE
from opsigcli.store.streams import STDOUT, opened_stream, takes_bytes

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "here"
_TEMPORARY = re.compile(r"\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)(-[0-9a-f]{8})?\.tmp")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BY_HANDLE = {os.open, os.unlink, os.rename, os.stat, os.mkdir} <= os.supports_dir_fd


# Paths of pathlib know no open folder: hence the functions of os.
class Folder:
    """An open folder; what is done in it is done by name alone. Use ``opened``."""

    def __init__(self, path: Path, handle: int | None) -> None:
        self.path = path
        self._handle = handle

    def names(self) -> list[str]:
        """Everything in it."""
        return os.listdir(self.path if self._handle is None else self._handle)  # noqa: PTH208

    def status(self, name: str) -> os.stat_result | None:
        """Of the entry itself, where it is a link; None where there is none."""
        try:
            return os.stat(self._at(name), follow_symlinks=False, **self._in())  # noqa: PTH116
        except FileNotFoundError:
            return None

    def read(self, name: str) -> BinaryIO:
        """A regular file, open for reading.

        Raises:
            OSError: there is none, or the system does not let us read it.
        """
        flags = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(self._at(name), flags, **self._in()), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, "not a regular file", name)
        return file

    def remove(self, name: str) -> None:
        """Remove a file or a link by its name, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(self._at(name), **self._in())

    @contextmanager
    def replacing(self, name: str) -> Iterator[tuple[BinaryIO, Path]]:
        """A new file, and its path, that takes the place of ``name`` when all went well; its mode is the old one's.

        Raises:
            StoreError: it cannot be written; what was there stays.
        """
        temporary = f"{name}.{_HOST}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            old = self.status(name)
            if old is not None and not (stat.S_ISREG(old.st_mode) or stat.S_ISLNK(old.st_mode)):
                # Nothing but a file or a link is ever taken away: a device would be gone for the whole machine.
                raise OSError(errno.EINVAL, f"it is {kind_of(old.st_mode)}, not a file", name)
            kept = old if old is not None and stat.S_ISREG(old.st_mode) else None
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK
            handle = os.open(self._at(temporary), flags, 0o666 if kept is None else 0o600, **self._in())
            with os.fdopen(handle, "w+b") as file:
                yield file, self.path / temporary
                file.flush()
                if kept is not None:
                    _make_alike(handle, kept)
                os.fsync(handle)
                made = self.status(temporary)
                if made is None or not os.path.samestat(made, os.fstat(handle)):
                    raise OSError(errno.EBUSY, "its new file was replaced by another while it was written")
            os.replace(  # noqa: PTH105
                self._at(temporary), self._at(name), **self._in("src_dir_fd"), **self._in("dst_dir_fd")
            )
        except OSError as error:
            raise cannot_write(self.path / name, error) from error
        finally:
            self.remove(temporary)

    def _at(self, name: str) -> str:
        return name if self._handle is not None else str(self.path / name)

    def _in(self, word: str = "dir_fd") -> dict[str, Any]:
        return {} if self._handle is None else {word: self._handle}


@contextmanager
def opened(path: Path, *, follow: bool = False) -> Iterator[Folder]:
    """A folder, opened.

    Args:
        path: of the folder.
        follow: it may be a link to one.

    Raises:
        StoreError: it is a link, or no folder.
        OSError: there is none, or it cannot be opened.
    """
    if not _BY_HANDLE:
        yield Folder(path, None)
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | (_NO_LINK if not follow else 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StoreError(
            f"expected a folder at {path}, found {'a link' if path.is_symlink() else 'something else'}",
            f"look at what it is, and move it away: {path.name} is where opsig keeps its own files",
        ) from error
    try:
        yield Folder(path, handle)
    finally:
        os.close(handle)


def real_path(store: Path) -> Path:
    """Where the file of a store lies, of which ``store`` may be a link.

    Raises:
        StoreError: it is a link to nothing, or what is there is a pipe, a socket or a device.
    """
    if strange := strange_kind(store):
        raise StoreError(
            f"expected a store or nothing at {store}, found {strange}", "name another file with --store"
        )
    if store.is_symlink() and not store.exists():
        raise StoreError(
            f"expected a store or nothing at {store}, found a link to {store.readlink()}, where nothing is",
            "remove the link, or name the file itself with --store",
        )
    return Path(os.path.realpath(store))


def keep_stores(path: Path) -> None:
    """Refuse to put a page or a table in the place of a store: hours of work would be gone.

    No format that is written so is HDF5, so that every HDF5 file is taken for a store, whatever it is called.

    Raises:
        UsageError: an HDF5 file is there, or a link to one.
    """
    with contextlib.suppress(OSError), open_file(path) as file:
        if file.read(len(SIGNATURE)) == SIGNATURE:
            raise UsageError(
                f"expected a file to write, found {path}, which is a store (HDF5); it is untouched",
                "name another file",
            )


def write_file(path: Path, fill: Callable[[BinaryIO], object], *, forward: bool = False) -> None:
    """Write a file so that it is either whole or not there. A link at its place is replaced, not followed.

    What is no file is written into: a pipe, a terminal, ``/dev/stdout`` or ``/dev/null``; ``-`` is standard output.

    Args:
        path: of the file.
        fill: writes into it.
        forward: ``fill`` never goes back in what it wrote, so that a pipe can have it as it comes.

    Raises:
        UsageError: a store is there.
        StoreError: the disk is full, or the place cannot be written.
        BrokenPipeError: the reader of standard output has gone away.
    """
    keep_stores(path)
    try:
        if takes_bytes(path):
            if forward:
                with opened_stream(path) as stream:
                    fill(stream)
                return
            data = BytesIO()
            fill(data)
            with opened_stream(path) as stream:
                stream.write(data.getvalue())
            return
        with opened(path.parent, follow=True) as folder:
            _sweep(folder, f"{path.name}.")
            with folder.replacing(path.name) as (file, _):
                fill(file)
    except BrokenPipeError as error:
        if path == STDOUT:
            raise  # its reader has gone away, as `opsig export -o - | head` has it, which is no error
        raise cannot_write(path, error) from error
    except OSError as error:
        raise cannot_write(path, error) from error


def reserve(file: BinaryIO, size: int) -> None:
    """Make sure that ``size`` bytes fit into an empty file, before a library starts that cannot bear a full disk.

    HDF5 crashes the process when a write fails half-way, so the room is taken and given back first.

    Raises:
        OSError: they do not fit.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot tell
                raise
        file.truncate(0)


def sweep(store: Path) -> None:
    """Remove what killed processes of this machine left half written beside a store and among its units.

    Raises:
        StoreError: what stands in place of the folder of units is none.
    """
    store = real_path(store)
    for path, start in ((store.parent, f"{store.name}."), (store.with_name(store.name + ".parts"), "")):
        with contextlib.suppress(FileNotFoundError), opened(path) as folder:
            _sweep(folder, start)


def _sweep(folder: Folder, start: str) -> None:
    """Remove half-written files in a folder whose names begin so, and whose processes are no more."""
    for name in folder.names():
        found = _TEMPORARY.search(name)
        ours = found and found.end() == len(name) and found["host"] == _HOST and name.startswith(start)
        if found and ours and not _alive(int(found["process"])):
            folder.remove(name)


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it lives, and belongs to somebody else
        return True
    return True


def _make_alike(handle: int, old: os.stat_result) -> None:
    """Give an open file the group, the owner and the mode of another, as far as we may."""
    if hasattr(os, "fchown"):
        for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with contextlib.suppress(OSError):
                os.fchown(handle, owner, group)
        os.fchmod(handle, stat.S_IMODE(old.st_mode) & 0o777)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error for a place that cannot be written, with the reason in words."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error)
    if full:
        return StoreError(
            f"the disk is full: {path} could not be written; what was there before is untouched",
            "free some space and run the same command again: finished units are kept",
        )
    if error.errno == errno.ENXIO:
        return StoreError(f"nobody reads the pipe {path}", "start its reader first, or name a file")
    reason = error.strerror or str(error)
    return StoreError(
        f"{path} cannot be written: {reason}; what was there before is untouched",
        "check the folder and its permissions, or name another place",
    )

"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path

from opsigcli.errors import CheckpointError


def write(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one move: readers see the old file or the new one, never a part.

    The file's mode is 0666 less the umask, as for any file a program writes.

    Raises:
        CheckpointError: it cannot be written; whatever was at ``path`` is untouched and no part is left behind.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # The kernel applies the umask here; tempfile would make the file readable by its owner alone.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:  # an interrupt too must not leave a part
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise CheckpointError(
            f"cannot write {path} ({len(data)} bytes): {error.strerror or error}",
            "free some space, or choose a folder on another disk"
            if full
            else "check that the folder is writable",
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those around it, where it is not there.

    Raises:
        CheckpointError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"the folder {folder} cannot be made: {error.strerror}", "name another folder"
        ) from error


def sweep(folder: Path, name: str) -> None:
    """Remove the parts that a killed writer of files in ``folder`` left behind.

    Args:
        folder: where no other process writes such files now.
        name: a pattern of the names of the files that were to be.
    """
    pattern = re.compile(rf"\.(?:{name})\.[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if pattern.fullmatch(path.name) and not path.is_dir():
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system allows folders to be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""Whether an archive of arrays fits this machine, told before anything is unpacked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from typing import IO

from opsigcli.errors import DatasetError

UNKNOWN = 1 << 40  # bytes of memory where the system does not say


def refuse_oversized(file: IO[bytes], wanted: Collection[str], path: str) -> None:
    """Refuse an archive whose arrays need more memory than there is: a few kilobytes can claim to hold terabytes.

    No member can unpack to more than it claims, so the claims are what counts. The file's position is at its
    beginning afterwards. What is no archive is left to the reader.

    Args:
        file: the archive.
        wanted: names of the arrays that are read.
        path: for the message.

    Raises:
        DatasetError: it needs more.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
    except (zipfile.BadZipFile, ValueError):
        return
    finally:
        file.seek(0)
    needed, there = sum(size for name, size in sizes.items() if name in wanted), _memory()
    if needed > there:
        raise DatasetError(
            f"expected arrays that fit the {there / 2**30:.3g} GiB of this machine; {path} claims to hold "
            f"{needed / 2**30:.3g} GiB",
            "save fewer examples, or float32 in place of float64; or read the data with py:pkg.mod:factory",
        )


def _memory() -> int:
    """Bytes of memory in this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return UNKNOWN

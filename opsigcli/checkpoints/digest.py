"""Digests of checkpoint files, and which files are the same checkpoint twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from opsigcli.checkpoints.base import unreadable

_BLOCK = 1 << 16


def sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal, read as a stream.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """The paths in groups of equal bytes, in the order given; groups of one are left out.

    Checkpoints of one run mostly have one size, and hashing them all would read them all. So a file is compared by
    three blocks first (the directory of a zip, with a checksum of every tensor, is in the last) and hashed in full
    only when those agree with another's.

    Raises:
        CheckpointError: a file cannot be read.
    """
    sizes = _grouped(paths, _size)
    glanced = (group for same in sizes for group in _grouped(same, _glance))
    return [group for same in glanced for group in _grouped(same, sha256)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error


def _glance(path: Path) -> bytes:
    size = _size(path)
    digest = hashlib.blake2b()
    try:
        with path.open("rb") as file:
            for start in (0, size // 2, max(0, size - _BLOCK)):
                file.seek(start)
                digest.update(file.read(_BLOCK))
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.digest()


def _grouped(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    groups: dict[Hashable, list[Path]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return [group for group in groups.values() if len(group) > 1]

"""Digests of checkpoint files, and which files are the same checkpoint twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from opsigcli.checkpoints.base import unreadable
from opsigcli.checkpoints.formats import recognise
from opsigcli.checkpoints.formats.zip_directory import members
from opsigcli.checkpoints.unchanged import identity
from opsigcli.files import open_file
from opsigcli.pickles.records import Malformed

_BLOCK = 1 << 16
_SERIAL = ".data/serialization_id"  # made of the names, too
_known: dict[tuple[int, ...], str] = {}  # identity -> sha256


def sha256(path: Path) -> str:
    """The sha256 of a checkpoint, hexadecimal: of the file, read as a stream; for a folder, over the names and the
    sha256 of the files that its weights are in. A file that has not changed since is not read again.

    Raises:
        CheckpointError: a file cannot be read.
    """
    try:
        if path.is_dir():
            lines = [f"{sha256(file)} {file.name}\n" for file in _files(path)]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        state = identity(path.stat())
        if state in _known:
            return _known[state]
        with open_file(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if state is not None:
            _known[state] = found
        return found
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
    sizes = _grouped(paths, size)
    glanced = (group for same in sizes for group in _grouped(same, _glance))
    return [group for same in glanced for group in _grouped(same, sha256)]


def same_records(paths: Iterable[Path]) -> list[list[Path]]:
    """The paths in groups of files of torch.save that hold the same, by the checksums of all their records; groups of
    one are left out. What is saved twice differs in bytes all the same: a zip of torch.save has its own name in it.

    Raises:
        CheckpointError: a file cannot be read.
    """
    return _grouped(paths, lambda path: _records(path) or path)


def _records(path: Path) -> Hashable:
    """Name within the archive, size and checksum of every record; None where it is no such file, or has none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with open_file(path) as file:
            found = members(file, 0, path.stat().st_size)
    except OSError as error:
        raise unreadable(path, error) from error
    except Malformed:
        return None
    inside = {name.partition("/")[2]: member for name, member in found.items()}
    inside.pop(_SERIAL, None)
    if not any(member.crc for member in inside.values()):
        return None
    return tuple(sorted((name, member.size, member.crc) for name, member in inside.items()))


def size(path: Path) -> int:
    """Bytes of a checkpoint: of the file, or of the files that a folder's weights are in.

    Raises:
        CheckpointError: a file cannot be read.
    """
    try:
        return sum(file.stat().st_size for file in _files(path))
    except OSError as error:
        raise unreadable(path, error) from error


def _files(path: Path) -> list[Path]:
    found = recognise(path) if path.is_dir() else None
    return found.files(path) if found else [path]


def _glance(path: Path) -> bytes:
    digest = hashlib.blake2b()
    try:
        for part in _files(path):
            length = part.stat().st_size
            with open_file(part) as file:
                for start in (0, length // 2, max(0, length - _BLOCK)):
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

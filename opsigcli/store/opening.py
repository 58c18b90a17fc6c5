"""Opens a store's file: nothing of it is read before its bytes, its links and its layout were looked at.

A file is looked at once. As long as it stays the same file, unchanged, it is then opened without.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, Any

import h5py
from h5py import h5a, h5t

from opsigcli.command_line import command
from opsigcli.errors import Refused, StoreError, Unsound
from opsigcli.files import NotAFile, open_file
from opsigcli.options import STORE
from opsigcli.store.guard import no_plugins, walk
from opsigcli.store.schema import FORMAT, FORMAT_VERSION
from opsigcli.store.seal import SIGNATURE, require_intact
from opsigcli.store.validate import require_deltas, require_layout

# Chunks of losses are larger than this, so HDF5 reads the part that is asked for and not whole chunks.
CACHE = 1 << 19

_known: dict[
    Path, tuple[tuple[int, ...], frozenset[str]]
] = {}  # what files were looked at, with their datasets


def open_checked(path: Path) -> tuple[h5py.File, frozenset[str]]:
    """The file of a store, open for reading, and the paths of its datasets.

    Raises:
        StoreError: there is none, it is not a store, it is damaged, it reaches outside of itself, or it was written
            by a newer opsig.
    """
    try:
        with open_file(path) as raw:
            return _open(path, raw)
    except FileNotFoundError as error:
        raise StoreError(
            f"expected a store at {path}, found nothing there",
            f"make one with: {command('trace', store=path)} CHECKPOINTS",
        ) from error
    except PermissionError as error:
        raise StoreError(f"{path} cannot be read: permission denied", "check its owner and mode") from error
    except NotAFile as error:
        within = path / STORE
        hint = f"name the store in it: {within}" if within.is_file() else "name another file with --store"
        raise StoreError(f"expected an opsig store at {path}: {error.strerror}", hint) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}", "check the disk") from error


def require_replaceable(path: Path) -> None:
    """Refuse to make a store anew where another file is, or a store of a newer opsig; one that is damaged may go.

    Raises:
        StoreError: it is there.
    """
    if path.exists():
        with contextlib.suppress(Unsound):
            open_checked(path)[0].close()


def _open(path: Path, raw: IO[bytes]) -> tuple[h5py.File, frozenset[str]]:
    identity, place = _identity(raw.fileno()), path.absolute()
    known, names = _known.get(place, ((), frozenset()))
    if known == identity:
        return _hdf5(path, identity), names
    if raw.read(len(SIGNATURE)) != SIGNATURE:
        raise _no_hdf5(path)
    sealed = require_intact(raw, path)
    with no_plugins():
        file = _hdf5(path, identity)
        try:
            names = _look(file, path, raw, sealed=sealed)
        except BaseException:
            file.close()
            raise
    _known[place] = identity, names
    return file, names


def _look(file: h5py.File, path: Path, raw: IO[bytes], *, sealed: bool) -> frozenset[str]:
    """The paths of the datasets of a file that may be read.

    Raises:
        Unsound: it is a store in which something is not as it should be.
        StoreError: it is none, or of a newer opsig.
    """
    size = os.fstat(raw.fileno()).st_size
    hint = f"name another file with --store, or make it again with: {command('trace', store=path)} --fresh CHECKPOINTS"
    ours = False
    try:
        if attribute(file, "format") != FORMAT:
            raise StoreError(
                f"expected an opsig store, found another kind of HDF5 file: {path}",
                "name another file with --store",
            )
        ours = True
        version = attribute(file, "format_version")
        if not isinstance(version, int) or version < 1:
            raise Refused(f"expected a number in the attribute format_version, found {version!r}")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{path} has store format {version} (written by opsig {attribute(file, 'opsig_version')}); "
                f"this opsig reads up to {FORMAT_VERSION}",
                "upgrade opsig",
            )
        found = walk(file, size)
        require_layout(file, found, raw, size)
        if not sealed:
            require_deltas(file)
    except Refused as error:
        raise (Unsound if ours else StoreError)(
            f"{path} is no sound store: {error.message}", error.hint or hint
        ) from error
    except StoreError:
        raise
    except Exception as error:  # HDF5 tells of a broken structure in many ways
        reason = " ".join(str(error).split())[:200]
        raise (Unsound if ours else StoreError)(
            f"{path} is no sound store: HDF5 cannot read it ({reason})", hint
        ) from error
    return frozenset(found)


def attribute(node: h5py.Group, name: str) -> str | int | None:
    """A text or a whole number that is kept as an attribute; None where there is none.

    Raises:
        Refused: it is anything else.
    """
    if not h5a.exists(node.id, name.encode()):
        return None
    stored = h5a.open(node.id, name.encode())
    kind: Any = stored.get_type()
    text = kind.get_class() == h5t.STRING and kind.is_variable_str()
    if stored.shape != () or not (text or kind.get_class() == h5t.INTEGER):
        raise Refused(f"expected one text or number in the attribute {name}, found something else")
    value = node.attrs[name]
    return str(value).encode("utf-8", "backslashreplace").decode() if text else int(value)


def _hdf5(path: Path, identity: tuple[int, ...]) -> h5py.File:
    """The file as HDF5 opens it, which is the one that was looked at.

    Raises:
        StoreError: HDF5 cannot open it, or it was replaced.
    """
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE)
    except Exception as error:  # of many kinds, by what is broken
        raise _no_hdf5(path) from error
    if _identity(file.id.get_vfd_handle()) != identity:
        file.close()
        raise StoreError(f"{path} was replaced while it was opened", "run the same command again")
    return file


def _identity(handle: int) -> tuple[int, ...]:
    """Of an open file, and of its content as long as nobody sets the clock back."""
    of = os.fstat(handle)
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns


def _no_hdf5(path: Path) -> StoreError:
    return StoreError(
        f"expected an opsig store, found something that is no readable HDF5 file: {path}",
        f"name another file with --store, or remove it and make it again: {command('trace', store=path)} CHECKPOINTS",
    )

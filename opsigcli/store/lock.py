"""Holds a store against other processes of opsig."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from opsigcli.errors import StoreError
from opsigcli.store.beside import cannot_write, real_path, sweep
from opsigcli.store.locking import acquired


@contextmanager
def locked(store: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the store against other opsig processes, and clear away what killed ones left half written.

    Args:
        store: the file; the lock is a file beside it.
        wait: seconds to wait for another process to finish.

    Raises:
        StoreError: another process holds it, its folder cannot be written, or something else stands where its own
            files go.
    """
    store = real_path(store)
    place = store.with_name(store.name + ".lock")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        _require_lock(place)
        lock = acquired(place, wait)
    except filelock.Timeout as error:
        raise StoreError(
            f"{store} is in use by another opsig process",
            "wait for it to finish, or name another store with --store",
        ) from error
    except OSError as error:
        raise cannot_write(store, error) from error
    try:
        sweep(store)
        yield
    finally:
        # Removed while it is held: a process that has opened it already sees that the file has no name any more.
        place.unlink(missing_ok=True)
        lock.release()


def _require_lock(place: Path) -> None:
    """Refuse what is no lock: the library may follow a link, and empties what it opens.

    Raises:
        StoreError: it is there.
    """
    with contextlib.suppress(FileNotFoundError):
        found = place.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            raise StoreError(
                f"expected an empty file or nothing at {place}, found something else",
                "look at what it is, and move it away: this is where opsig keeps its lock",
            )

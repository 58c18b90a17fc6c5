"""A store is held against other processes, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import filelock
import pytest

from opsigcli.errors import StoreError
from opsigcli.store.lock import locked
from opsigcli.store.locking import acquired


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, 524])
def test_where_there_are_no_locks_a_file_is_one(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "a.h5"), pytest.raises(StoreError, match="in use"), locked(tmp_path / "a.h5"):
        pass
    with locked(tmp_path / "a.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_a_lock_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"):
        acquired(tmp_path / "a.lock", 0.0)


def test_a_lock_that_is_held_is_not_taken(tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / "a.lock"), pytest.raises(filelock.Timeout):
        acquired(tmp_path / "a.lock", 0.0)

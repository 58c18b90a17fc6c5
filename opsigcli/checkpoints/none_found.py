"""The error for a folder without one checkpoint to read: what lies there, and where else to look."""

from __future__ import annotations

import contextlib
from pathlib import Path

from opsigcli.checkpoints import hub_cache
from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.folder import Failed, Skipped, never
from opsigcli.checkpoints.formats import formats, suffixes
from opsigcli.errors import CheckpointError


def nothing(path: Path, folder: Path, failed: list[Failed], skipped: list[Skipped]) -> CheckpointError:
    """The error for a folder without one checkpoint to read, or for a file that is none.

    Args:
        path: that was named: the folder, or a file in it.
        folder: of the series.
        failed: checkpoints that cannot be read.
        skipped: what is no checkpoint.
    """
    if failed:
        more = f" ({len(failed) - 1} more cannot be read either)" if len(failed) > 1 else ""
        return CheckpointError(failed[0].error.message + more, failed[0].error.hint)
    if not skipped:
        return CheckpointError(f"expected checkpoints, found an empty folder at {folder}", "check the path")
    deeper = _deeper(folder)
    if known := next((s for s in skipped if s.command and not (s.often_data and deeper)), None):
        return CheckpointError(
            f"expected checkpoints that opsig opens, found {known.reason} at {folder / known.file}",
            f"convert it: {known.command}",
        )
    if path.is_file():
        why = next((s.reason for s in skipped if s.file == path.name), "no checkpoint")
        return CheckpointError(
            f"expected a checkpoint or a folder of checkpoints, found the file {path} ({why})",
            f"name the folder that holds them{f': {deeper}' if deeper else ''}",
        )
    if deeper:
        return CheckpointError(
            f"expected checkpoints in {folder}, found them in a folder below it",
            f"name that folder: {deeper}",
        )
    *every, last = suffixes()
    listed = some([f"{s.file} ({s.reason})" for s in skipped])
    return CheckpointError(
        f"expected checkpoints, found none in {folder}; it holds {listed}",
        f"name the folder that holds {', '.join(every)} or {last} files",
    )


def _deeper(folder: Path) -> Path | None:
    """The first folder up to three levels below that holds checkpoints."""
    known = formats()
    level = [folder]
    for _ in range(3):
        with contextlib.suppress(OSError):
            folders = (e for f in level for e in f.iterdir() if e.is_dir() and not e.is_symlink())
            level = sorted(e for e in folders if not e.name.startswith("."))[:200]
            for inner in level:
                if hub_cache.located(inner)[1] or any(
                    f.recognises(e) for e in inner.iterdir() if not never(e) for f in known
                ):
                    return inner
    return None

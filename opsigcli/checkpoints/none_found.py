"""The error for a folder without one checkpoint to read: what lies there, and where else to look."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from opsigcli.checkpoints import hub_cache
from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.folder import Failed, Skipped, never
from opsigcli.checkpoints.formats import formats, suffixes
from opsigcli.checkpoints.holds_weights import holds_weights
from opsigcli.checkpoints.names import counts
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
    names = _several_in_each(deeper) if deeper else []
    if names and all(map(counts, names)):
        return CheckpointError(
            f"expected the checkpoints of one run, found a series in each folder below {folder}, as {some(names)} in "
            f"{deeper}",
            f"name one of these folders: {deeper}; parts of one run go into one, under numbers that count on",
        )
    if names:
        here, name = str(folder.resolve()), names[0]
        into = f"{here}-{Path(name).stem}"
        link = f'mkdir {into} && for d in {here}/*/; do ln -s "${{d}}{name}" {into}/$(basename $d).pt; done'
        plain = re.fullmatch(r"[\w./@+=,:-]+", here + name)
        return CheckpointError(
            f"expected one checkpoint in each folder below {folder}, found {some(names)} in {deeper}",
            "put those of one model into a folder of their own, named by the folders that they are in"
            + (f": {link}" if plain else ""),
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


def _several_in_each(inner: Path) -> list[str]:
    """The names of several files of weights in a folder, where folders beside it have all of them as well."""
    with contextlib.suppress(OSError):
        names = sorted(e.name for e in inner.iterdir() if e.is_file() and not never(e) and holds_weights(e))
        beside = [e for e in inner.parent.iterdir() if e.is_dir() and not e.name.startswith(".")]
        if len(names) > 1 and len(beside) > 1:
            return names if all((e / name).exists() for e in beside for name in names) else []
    return []


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

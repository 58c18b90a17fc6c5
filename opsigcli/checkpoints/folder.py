"""What lies in a folder: which files are checkpoints, what each says about itself, and what is passed over and why."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from opsigcli.checkpoints import names, step_keys
from opsigcli.checkpoints.base import CheckpointFormat, Header, NotWeights, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats import foreign, formats, suffixes
from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest
from opsigcli.errors import CheckpointError
from opsigcli.files import strange_kind
from opsigcli.options import MANIFEST

_FOLDER = "a folder"
_CLOSED = "a folder that may not be read"
_STRANGER = f"not in {MANIFEST}"


@dataclass(frozen=True)
class Skipped:
    """A file that is no part of the series, and why."""

    file: str
    reason: str
    command: str = ""  # what converts it, for kinds that opsig knows and does not open


@dataclass(frozen=True)
class Failed:
    """A checkpoint that should be part of the series and cannot be read."""

    file: str
    error: CheckpointError


@dataclass(frozen=True)
class Found:
    path: Path
    file: str
    format: CheckpointFormat
    status: os.stat_result
    row: Row | None


@dataclass(frozen=True)
class Described:
    found: Found
    header: Header
    numbers: dict[str, dict[str, int]]  # source -> unit -> number
    lr: float | None
    named: names.Counted = names.NOTHING


def gather(
    path: Path, unsafe: bool = False
) -> tuple[Path, list[Found], Manifest | None, list[Skipped], list[str]]:
    """The checkpoints at a path, the manifest, the files that are no checkpoints, and notes about the manifest.

    Raises:
        CheckpointError: there is nothing at the path, it may not be read, or the manifest is broken.
    """
    try:
        if not path.exists():
            raise CheckpointError(
                f"expected a folder of checkpoints, or a checkpoint, found nothing at {path}",
                "check the path",
            )
        if kind := strange_kind(path):
            raise CheckpointError(
                f"expected a folder of checkpoints, or a checkpoint, found {kind} at {path}",
                "name the folder",
            )
        single = path.is_file() or is_one(path)
        folder = path.parent if single else path
        manifest = read_manifest(folder)
        rows = {row.file: row for row in manifest.checkpoints} if manifest else {}
        if single:
            rows = {file: row for file, row in rows.items() if file == path.name}
        missing = [file for file in rows if not (folder / file).exists()]
        listed = [path] if single else _listed(folder, [file for file in rows if file not in missing])
        entries, skipped = _sort_out(folder, listed, rows, unsafe)
        if not entries and (below := _one_in_each(folder, skipped)):
            entries, skipped = _sort_out(folder, [*listed, *below], rows, unsafe)
    except OSError as error:
        raise unreadable(path, error) from error
    notes = [f"in {MANIFEST} and not in the folder: {_some(missing)}"] if missing else []
    if closed := [s.file for s in skipped if s.reason == _CLOSED]:
        notes.append(f"may not be read, and left out: {_some(closed)}")
    strangers = [s.file for s in skipped if s.reason == _STRANGER]
    if strangers:
        notes.append(f"{_STRANGER}, and left out: {_some(strangers)}")
    return folder, entries, manifest, skipped, notes


def is_one(path: Path) -> bool:
    """Whether a folder is one checkpoint in several files, rather than a folder of checkpoints."""
    known = formats()
    if not path.is_dir() or not any(f.recognises(path) for f in known if f.folder):
        return False
    # Anything else in it that looks like a checkpoint makes it a folder of checkpoints.
    parts = {part for f in known for part in f.parts}
    others = [
        p for p in path.iterdir() if p.name not in parts and not p.name.startswith(".") and not _never(p)
    ]
    return not any(f.recognises(p) for p in others for f in known)


def _listed(folder: Path, rows: list[str]) -> list[Path]:
    """The visible files of a folder in natural order, and those that the manifest names in folders below it."""
    here = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name != MANIFEST]
    below = [folder / file for file in rows if "/" in file]
    return sorted(here, key=lambda p: (names.natural(p.name), p.name)) + below


def _one_in_each(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """The checkpoints in folders that hold one each, as ``epoch_1/model.pt``, and whose names count; else none."""
    known = formats()
    inside = [sorted((folder / s.file).iterdir()) for s in skipped if s.reason == _FOLDER]
    found = [
        [
            p
            for p in files
            if not p.name.startswith(".") and not _never(p) and any(f.recognises(p) for f in known)
        ]
        for files in inside
    ]
    alone = [files[0] for files in found if len(files) == 1]
    counted = names.counted(path.relative_to(folder).as_posix() for path in alone)
    whole = not any(len(files) > 1 for files in found) and all(c.numbers for c in counted.values())
    return sorted(alone, key=lambda p: names.natural(p.parent.name)) if whole else []


def _sort_out(
    folder: Path, listed: list[Path], rows: dict[str, Row], unsafe: bool
) -> tuple[list[Found], list[Skipped]]:
    known = formats(unsafe)
    entries: list[Found] = []
    skipped: list[Skipped] = []
    for entry in listed:
        file = entry.relative_to(folder).as_posix()
        reason = _never(entry)
        try:
            reader = None if reason else next((f for f in known if f.recognises(entry)), None)
        except PermissionError:
            skipped.append(Skipped(file, _CLOSED))
            continue
        if reader is None:
            kind = None if reason else foreign.recognise(entry)
            if kind:
                skipped.append(Skipped(file, kind.what, kind.convert(entry)))
            else:
                other = _FOLDER if entry.is_dir() else "no checkpoint format that opsig reads"
                skipped.append(Skipped(file, reason or other))
        elif rows and file not in rows:
            skipped.append(Skipped(file, _STRANGER))
        else:
            entries.append(Found(entry, file, reader, entry.stat(), rows.get(file)))
    return entries, skipped


def _never(entry: Path) -> str:
    """Why a file is not even opened; "" when it may be."""
    if names.never_weights(entry.name):
        return "training state beside the weights, which holds none"
    if names.SHARD.search(entry.name) and not entry.is_dir():
        return "one shard of a checkpoint kept in several files"
    if entry.is_symlink() and not entry.exists():
        return "a link to nothing"
    return strange_kind(entry)


def once(entries: list[Found]) -> tuple[list[Found], list[Skipped]]:
    """The entries without second names of the same file; the name with a number in it is kept."""
    kept: dict[tuple[int, int], Found] = {}
    twins: list[Skipped] = []
    named = names.counted(entry.file for entry in entries)
    for entry in sorted(entries, key=lambda e: not named[e.file].numbers):
        inode = (entry.status.st_dev, entry.status.st_ino)
        if inode in kept:
            twins.append(Skipped(entry.file, f"the same file as {kept[inode].file}"))
        else:
            kept[inode] = entry
    kept_files = {entry.file for entry in kept.values()}
    return [entry for entry in entries if entry.file in kept_files], twins


def describe(
    found: list[Found],
    manifest: Manifest | None,
    key: str | None,
    weights: str,
    single: bool,
    examine: bool,
) -> tuple[list[Described], list[Failed], list[Skipped]]:
    """What each file says about itself; those that cannot be read, and those that hold no weights.

    Raises:
        CheckpointError: a ``single`` file cannot be read; or, unless ``examine``, a file holds several sets of
            weights and there is no ``key``, which the user has to give before anything else makes sense.
    """
    described: list[Described] = []
    failed: list[Failed] = []
    empty: list[Skipped] = []
    named = names.counted(entry.file for entry in found)
    for entry in found:
        several = False
        try:
            header = entry.format.describe(entry.path)
            several = key is None and not examine
            if not examine:
                choose(entry.path, header.candidates, key, weights)
            alone = len(found) == 1 or "/" in entry.file
            described.append(_numbers(entry, header, named[entry.file], manifest, alone=alone))
        except CheckpointError as error:
            if single or several:
                raise
            if isinstance(error, NotWeights):
                empty.append(Skipped(entry.file, error.message))
            else:
                failed.append(Failed(entry.file, error))
    return described, failed, empty


def _numbers(
    entry: Found, header: Header, named: names.Counted, manifest: Manifest | None, *, alone: bool
) -> Described:
    """All numbers known for a file, by the source that has them: manifest, content, sidecar, name."""
    beside = step_keys.sidecar(entry.path, alone=alone)
    numbers = {
        "content": dict(header.counts),
        "sidecar": {**step_keys.content_counts(beside), **header.beside},
        "name": named.numbers,
    }
    lr = header.lr if header.lr is not None else step_keys.sidecar_lr(beside)
    if entry.row and manifest:
        numbers["manifest"] = {manifest.unit: entry.row.step}
        lr = entry.row.lr if entry.row.lr is not None else lr
    return Described(entry, header, numbers, lr, named)


def nothing(folder: Path, failed: list[Failed], skipped: list[Skipped]) -> CheckpointError:
    """The error for a folder without one checkpoint to read."""
    if failed:
        more = f" ({len(failed) - 1} more cannot be read either)" if len(failed) > 1 else ""
        return CheckpointError(failed[0].error.message + more, failed[0].error.hint)
    if not skipped:
        return CheckpointError(f"expected checkpoints, found an empty folder at {folder}", "check the path")
    if known := next((s for s in skipped if s.command), None):
        return CheckpointError(
            f"expected checkpoints that opsig opens, found {known.reason} at {folder / known.file}",
            f"convert it: {known.command}",
        )
    if deeper := _deeper(folder):
        return CheckpointError(
            f"expected checkpoints in {folder}, found them in a folder below it",
            f"name that folder: {deeper}",
        )
    *every, last = suffixes()
    listed = _some([f"{s.file} ({s.reason})" for s in skipped])
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
            level = sorted(e for f in level for e in f.iterdir() if e.is_dir() and not e.is_symlink())[:200]
            for inner in level:
                if any(f.recognises(e) for e in inner.iterdir() if not _never(e) for f in known):
                    return inner
    return None


def _some(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")

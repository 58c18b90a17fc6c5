"""What lies in a folder: which files are checkpoints, what each says about itself, and what is passed over and why."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from opsigcli.checkpoints import hub_cache, names, step_keys
from opsigcli.checkpoints.base import CheckpointFormat, Header, NotWeights, some, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats import foreign, formats
from opsigcli.checkpoints.holds_weights import holds_weights
from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest
from opsigcli.checkpoints.optimizer_beside import optimizer_beside, with_optimizer_beside
from opsigcli.errors import CheckpointError
from opsigcli.files import strange_kind
from opsigcli.options import MANIFEST

_FOLDER = "a folder"
_MOST_INNER = 100  # folders in one of a checkpoint
_CLOSED = "a folder that may not be read"
_STRANGER = f"not in {MANIFEST}"


@dataclass(frozen=True)
class Skipped:
    """A file that is no part of the series, and why."""

    file: str
    reason: str
    command: str = ""  # what converts it, for kinds that opsig knows and does not open
    often_data: bool = False  # of such a kind, and probably no checkpoint


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
    ref: str = ""  # its name in the Hugging Face Hub, where it is a revision there


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
        CheckpointError: there is nothing at the path, it may not be read, or the manifest is broken; or nothing of a
            repository of the Hugging Face Hub is cached.
        UsageError: ``hub:ORG/NAME`` has an option that is not known.
    """
    path, patterns = hub_cache.located(path)
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
        hub = hub_cache.suite(path, patterns) if patterns else None
        single = path.is_file() or is_one(path)
        folder = path.parent if single else path
        manifest = read_manifest(folder)
        rows = {row.file: row for row in manifest.checkpoints} if manifest else {}
        if single:
            rows = {file: row for file, row in rows.items() if file == path.name}
        missing = [file for file in rows if not (folder / file).exists()]
        listed = [path] if single else _listed(folder, [file for file in rows if file not in missing])
        listed = listed if hub is None else list(hub.revisions)
        entries, skipped = _sort_out(folder, listed, rows, unsafe)
        if hub is not None:
            entries = [replace(entry, ref=hub.revisions[entry.path]) for entry in entries]
            skipped += [Skipped(ref, why) for ref, why in hub.left_out.items()]
        elif not entries and (below := _one_in_each(folder, skipped)):
            entries, skipped = _sort_out(folder, [*listed, *below], rows, unsafe)
    except OSError as error:
        raise unreadable(path, error) from error
    notes = [f"in {MANIFEST} and not in the folder: {some(missing)}"] if missing else []
    if hub is not None and hub.left_out:
        refs = [f"{ref} ({why})" for ref, why in hub.left_out.items()]
        notes.append(f"revisions of {folder.name} that are left out: {some(refs)}")
    if closed := [s.file for s in skipped if s.reason == _CLOSED]:
        notes.append(f"may not be read, and left out: {some(closed)}")
    strangers = [s.file for s in skipped if s.reason == _STRANGER]
    if strangers:
        notes.append(f"{_STRANGER}, and left out: {some(strangers)}")
    return folder, entries, manifest, skipped, notes


def is_one(path: Path) -> bool:
    """Whether a folder is one checkpoint in several files, rather than a folder of checkpoints."""
    known = formats()
    own = [f for f in known if f.folder and f.recognises(path)] if path.is_dir() else []
    if not own:
        return False
    # Anything else in it that looks like a checkpoint makes it a folder of checkpoints.
    parts = {part for f in known for part in f.parts if f in own or "*" not in part}
    others = [
        p
        for p in path.iterdir()
        if not any(fnmatchcase(p.name, part) for part in parts)
        and not p.name.startswith(".")
        and not never(p)
    ]
    return not any(f.recognises(p) for p in others for f in known)


def _listed(folder: Path, rows: list[str]) -> list[Path]:
    """The visible files of a folder in natural order, and those that the manifest names in folders below it."""
    here = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name != MANIFEST]
    below = [folder / file for file in rows if "/" in file]
    return sorted(here, key=lambda p: (names.natural(p.name), p.name)) + below


def _one_in_each(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """The checkpoints in folders that hold one each, as ``epoch_1/model.pt`` or ``epoch_1/unet/model.pt``, and whose
    names count; else none."""
    known = formats()

    def inside(place: Path) -> tuple[list[Path], list[Path]]:
        entries = [p for p in sorted(place.iterdir()) if not p.name.startswith(".") and not never(p)]
        found = [p for p in entries if any(f.recognises(p) for f in known)]
        if len(found) > 1:
            found = [p for p in found if holds_weights(p)]
        return found, [] if found else [p for p in entries if p.is_dir() and not foreign.recognise(p)]

    found: list[list[Path]] = []
    for place in (folder / s.file for s in skipped if s.reason == _FOLDER):
        here, deeper = inside(place)
        found.append(here or [p for inner in deeper[:_MOST_INNER] for p in inside(inner)[0]])
    alone = [files[0] for files in found if len(files) == 1]
    counted = names.counted(path.relative_to(folder).as_posix() for path in alone)
    whole = not any(len(files) > 1 for files in found) and all(c.numbers for c in counted.values())
    return sorted(alone, key=lambda p: names.natural(p.relative_to(folder).as_posix())) if whole else []


def _sort_out(
    folder: Path, listed: list[Path], rows: dict[str, Row], unsafe: bool
) -> tuple[list[Found], list[Skipped]]:
    known = formats(unsafe)
    entries: list[Found] = []
    skipped: list[Skipped] = []
    for entry in listed:
        file = entry.relative_to(folder).as_posix()
        reason = never(entry)
        try:
            reader = None if reason else next((f for f in known if f.recognises(entry)), None)
        except PermissionError:
            skipped.append(Skipped(file, _CLOSED))
            continue
        if reader is None:
            kind = None if reason else foreign.recognise(entry)
            if kind:
                skipped.append(Skipped(file, kind.what, kind.convert(entry), kind.often_data))
            else:
                other = _FOLDER if entry.is_dir() else "no checkpoint format that opsig reads"
                skipped.append(Skipped(file, reason or other))
        elif rows and file not in rows:
            skipped.append(Skipped(file, _STRANGER))
        else:
            entries.append(Found(entry, file, reader, entry.stat(), rows.get(file)))
    # Programs keep logs and data in pickles: beside checkpoints of another kind they are no weights.
    whole = [entry for entry in entries if entry.format.name != "pickle"] or entries
    skipped += [
        Skipped(e.file, "a pickle beside checkpoints of another kind") for e in entries if e not in whole
    ]
    return whole, skipped


def never(entry: Path) -> str:
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
    named = _counted(entries)
    for entry in sorted(entries, key=lambda e: not named[e.file].numbers):
        inode = (entry.status.st_dev, entry.status.st_ino)
        if inode in kept:
            twins.append(Skipped(entry.file, f"the same file as {kept[inode].file}"))
        else:
            kept[inode] = entry
    kept_files = {entry.file for entry in kept.values()}
    return [entry for entry in entries if entry.file in kept_files], twins


def _counted(found: list[Found]) -> dict[str, names.Counted]:
    """What the names of some files count; in the ref of a revision, only words say that a number counts."""
    refs = {entry.file: names.Counted(names.counts(entry.ref), "*") for entry in found if entry.ref}
    return names.counted(entry.file for entry in found if not entry.ref) | refs


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
    named, by_file = _counted(found), {entry.file: entry for entry in found}
    for entry in found:
        several = False
        try:
            header = entry.format.describe(entry.path)
            header = header if entry.format.folder else with_optimizer_beside(header, entry.path)
            if entry.ref:
                header = replace(header, notes=(f"revision {entry.ref}", *header.notes))
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
    owner = {optimizer_beside(one.found.path): one.found.file for one in described}
    empty = [
        replace(item, reason=f"the optimizer's state of {own}")
        if (own := owner.get(by_file[item.file].path))
        else item
        for item in empty
    ]
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
    lr = header.lr
    if (
        lr is None
        and (lr := step_keys.sidecar_lr(beside)) is not None
        and (note := step_keys.rate_note(beside))
    ):
        header = replace(header, notes=(*header.notes, note))
    if entry.row and manifest:
        numbers["manifest"] = {manifest.unit: entry.row.step}
        lr = entry.row.lr if entry.row.lr is not None else lr
    return Described(entry, header, numbers, lr, named)

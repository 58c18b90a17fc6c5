"""A suite of revisions in the cache of the Hugging Face Hub: what of it lies on this disk. The network is never asked.

A folder ``models--ORG--NAME`` has a file in ``refs`` for each branch or tag that was asked for, with the commit in it,
and a folder in ``snapshots`` for each commit, whose files are links into ``blobs``. Suites such as Pythia and OLMo keep
each checkpoint as a branch that is named by its step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from opsigcli.checkpoints import names
from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.formats import formats
from opsigcli.errors import CheckpointError
from opsigcli.files import read_file
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import parse

SCHEME = "hub:"
_LARGEST_REF = 1 << 12  # bytes; a commit has 40
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
# What differs along the refs of one series; what is left of their names tells series apart.
_COUNTS = re.compile(
    r"(?<![a-z])(step|tokens?|epoch|ep|iter|it|checkpoint|ckpt)([-_=]?)[\d.]+[kmbt]?(?![a-z0-9])|^\d+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Suite:
    """The checkpoints of a repository that are cached."""

    folder: Path
    revisions: dict[Path, str] = field(default_factory=dict)  # snapshot or its one file of weights -> ref
    left_out: dict[str, str] = field(default_factory=dict)  # revision -> why


def is_hub(path: Path) -> bool:
    """Whether a path is a name in the Hugging Face Hub rather than one on this disk."""
    return str(path).startswith(SCHEME)


def located(path: Path) -> tuple[Path, str | tuple[str, ...]]:
    """The folder that ``hub:ORG/NAME?revisions=step*`` names in the cache, and the patterns; other paths, and "".

    Raises:
        UsageError: it is no such name, or has other options.
        CheckpointError: nothing of it is cached.
    """
    text = str(path)
    if not is_hub(path):
        inner = path.parent if path.name == "snapshots" else path
        known = (inner / "snapshots").is_dir() and any((inner / part).is_dir() for part in ("refs", "blobs"))
        return (inner, ("*",)) if known else (path, "")
    spec = parse(text).only("revisions")
    given = spec.options.get("revisions", "*")
    if not _REPOSITORY.fullmatch(spec.name):
        raise CheckpointError(f"expected hub:ORG/NAME, found {text!r}", "example: hub:EleutherAI/pythia-70m")
    folder = cache() / f"models--{spec.name.replace('/', '--')}"
    if not (folder / "snapshots").is_dir():
        cached = [entry.name for entry in cache().glob("models--*")]
        close = (f"hub:{_repository(Path(name))}" for name in nearest(folder.name, cached))
        raise CheckpointError(
            f"expected {spec.name} in the cache of the Hugging Face Hub, found nothing of it in {cache()}",
            did_you_mean(close, f"download what you need: hf download {spec.name} --revision REF; or say where the "
            "cache is: HF_HUB_CACHE=DIR"),
        )  # fmt: skip
    return folder, tuple(map(str, given if isinstance(given, list) else [given]))


def cache() -> Path:
    """The folder in which the Hugging Face libraries keep what they download."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if given := os.environ.get(variable):
            return Path(os.path.expandvars(given)).expanduser()
    general = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or str(general))).expanduser() / "hub"


def suite(folder: Path, patterns: Sequence[str]) -> Suite:
    """The revisions of a repository's folder whose weights are cached, and the others.

    Args:
        folder: ``models--ORG--NAME``.
        patterns: of refs that are meant.

    Raises:
        CheckpointError: no ref fits, or those with weights are of several series.
        OSError: a folder cannot be listed.
    """
    refs = _refs(folder)
    meant = {ref: commit for ref, commit in refs.items() if any(fnmatchcase(ref, p) for p in patterns)}
    if not meant and "*" not in patterns:
        raise CheckpointError(
            f"expected refs like {', '.join(patterns)} in {folder}, found {some(sorted(refs)) or 'none'}",
            "see the list",
        )
    found = Suite(folder)
    whose: dict[str, list[str]] = {}
    for ref in sorted(meant, key=lambda ref: (not names.counts(ref), ref != "main", names.natural(ref))):
        whose.setdefault(meant[ref], []).append(ref)
    for commit, (ref, *others) in whose.items():
        found.left_out.update((other, f"the same revision as {ref}") for other in others)
        _add(found, ref, folder / "snapshots" / commit if _is_commit(commit) else None)
    if "*" in patterns:
        unnamed = sorted({p.name for p in (folder / "snapshots").iterdir()} - set(refs.values()))
        for commit in unnamed:
            if found.revisions or len(unnamed) > 1 or not _is_commit(commit):
                found.left_out[commit] = "a snapshot that no ref names"
            else:
                _add(found, commit, folder / "snapshots" / commit)
    if not found.revisions:
        listed = some([f"{ref} ({why})" for ref, why in found.left_out.items()])
        raise CheckpointError(
            f"expected revisions whose weights are cached, found {listed or 'none'} in {folder}",
            f"download them: hf download {_repository(folder)} --revision REF",
        )
    counted = {place: ref for place, ref in found.revisions.items() if names.counts(ref)}
    if counted:
        found.left_out.update(
            (ref, "no step in its name") for p, ref in found.revisions.items() if p not in counted
        )
        _require_one_series(folder, list(counted.values()))
    return Suite(folder, counted or found.revisions, found.left_out)


def _refs(folder: Path) -> dict[str, str]:
    """Ref -> commit, of those that were asked for on this machine."""
    root = folder / "refs"
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and _within(p, folder)]
    commits = (read_file(path, _LARGEST_REF).decode("ascii", "replace").strip() for path in files)
    return {path.relative_to(root).as_posix(): commit for path, commit in zip(files, commits, strict=True)}


def _repository(folder: Path) -> str:
    return folder.name.removeprefix("models--").replace("--", "/", 1)


def _is_commit(text: str) -> bool:
    """Whether a ref's content may be the name of a folder of ``snapshots``; it is data from elsewhere."""
    return bool(re.fullmatch(r"\w[\w-]*", text, re.ASCII))


def _add(found: Suite, ref: str, snapshot: Path | None) -> None:
    """Put a snapshot's weights into the suite, or say why not."""
    if snapshot is None or not snapshot.is_dir():
        found.left_out[ref] = "nothing of it is cached"
        return
    links = (Path(at) / name for at, inner, files in os.walk(snapshot) for name in (*inner, *files))
    if outside := next((link for link in (snapshot, *links) if not _within(link, found.folder)), None):
        found.left_out[ref] = f"its {outside.name} is a link out of the cache"
        return
    known = formats()
    format = next((f for f in known if f.folder and f.recognises(snapshot)), None)
    if format is None:
        files = [p for p in sorted(snapshot.iterdir()) if p.is_file() and not _aside(p.name)]
        files = [p for p in files if any(f.recognises(p) for f in known)]
        if len(files) == 1:
            found.revisions[files[0]] = ref
        else:
            several = f"several files of weights: {some([p.name for p in files])}" if files else ""
            deep = any(f.recognises(p) for p in snapshot.iterdir() if p.is_dir() for f in known)
            below = f"a folder of checkpoints, to be named itself: {snapshot}" if deep else ""
            found.left_out[ref] = several or below or "no weights of it are cached that opsig reads"
        return
    try:
        format.files(snapshot)
    except CheckpointError as error:
        found.left_out[ref] = f"downloaded in part: {error.message}"
    else:
        found.revisions[snapshot] = ref


def _aside(name: str) -> bool:
    return name.startswith(".") or names.never_weights(name) or bool(names.SHARD.search(name))


def _within(path: Path, folder: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(folder.resolve())


def _require_one_series(folder: Path, refs: Sequence[str]) -> None:
    """Refuse refs whose names differ in more than what counts, as the stages of a training do.

    Raises:
        CheckpointError: there are several kinds of names.
    """
    kinds: dict[str, int] = {}
    for ref in refs:
        kind = _COUNTS.sub(lambda match: f"{match[1] or ''}{match[2] or ''}*", ref)
        kinds[kind] = kinds.get(kind, 0) + 1
    if len(kinds) > 1:
        place = "" if folder.parent == cache() else f", with HF_HUB_CACHE={folder.parent}"
        raise CheckpointError(
            f"expected refs of one series, found several: {some([f'{kind} ({n})' for kind, n in kinds.items()])}",
            f"choose one: '{SCHEME}{_repository(folder)}?revisions={next(iter(kinds))}'{place}",
        )

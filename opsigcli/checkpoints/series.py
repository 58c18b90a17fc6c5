"""A folder of checkpoints as a series: found, described, ordered, and read one at a time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import digest
from opsigcli.checkpoints.base import SOURCES, WEIGHTS, Checkpoint, some
from opsigcli.checkpoints.choose import has_average
from opsigcli.checkpoints.folder import Described, Failed, Skipped, describe, gather, once
from opsigcli.checkpoints.formats import named
from opsigcli.checkpoints.manifest import Manifest
from opsigcli.checkpoints.names import NUMBERS
from opsigcli.checkpoints.none_found import nothing
from opsigcli.checkpoints.optimizer_beside import optimizer_in
from opsigcli.checkpoints.order import ORDERS, gaps, in_steps, put_in_order
from opsigcli.checkpoints.placed import Numbered
from opsigcli.checkpoints.step_keys import RATE_OF
from opsigcli.errors import CheckpointError
from opsigcli.options import MANIFEST
from opsigcli.registry import unknown

if TYPE_CHECKING:
    import torch

HASHED_AT_ONCE = 4  # files; disks and cores both gain by it


@dataclass
class Series:
    """Ordered checkpoints of one run."""

    folder: Path
    checkpoints: tuple[Checkpoint, ...]
    unit: str  # what ``step`` counts: step, epoch, number, or position
    skipped: tuple[Skipped, ...] = ()
    duplicates: tuple[Skipped, ...] = ()
    failed: tuple[Failed, ...] = ()
    gaps: tuple[tuple[int, int, int], ...] = ()  # (step before, step after, usual distance)
    notes: tuple[str, ...] = ()  # what a user should know, in words
    manifest: Manifest | None = None
    key: str | None = None
    weights: str = ""  # model, ema, or "" where files hold one set
    unsafe: bool = False
    _digests: dict[Path, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.checkpoints)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self.checkpoints)

    @property
    def steps(self) -> list[int]:
        """Step of each checkpoint, increasing."""
        return [checkpoint.step for checkpoint in self.checkpoints]

    def read(self, index: int) -> dict[str, torch.Tensor]:
        """The weights of one checkpoint, by the names the model has, on the CPU.

        Raises:
            CheckpointError: the file cannot be read or is refused.
        """
        checkpoint = self.checkpoints[index]
        return named(checkpoint.format, self.unsafe).read(checkpoint.path, self.key, self.weights)

    def optimizer(self, index: int, *, tensors: bool = False) -> dict[str, Any]:
        """The optimizer's groups and state in one checkpoint; {} where there is none.

        Raises:
            CheckpointError: the file cannot be read or is refused.
        """
        checkpoint = self.checkpoints[index]
        return optimizer_in(named(checkpoint.format), checkpoint.path, tensors=tensors)

    def sha256(self, index: int) -> str:
        """The sha256 of one checkpoint's file, hexadecimal; computed once.

        Raises:
            CheckpointError: the file cannot be read.
        """
        path = self.checkpoints[index].path
        if path not in self._digests:
            self._digests[path] = digest.sha256(path)
        return self._digests[path]

    def hash_all(self) -> None:
        """Compute every ``sha256`` now, several files at a time.

        Raises:
            CheckpointError: a file cannot be read.
        """
        with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
            for _ in pool.map(self.sha256, range(len(self))):
                pass


def open_series(
    path: Path,
    *,
    key: str | None = None,
    weights: str = "",
    order: str = "auto",
    examine: bool = False,
    unsafe: bool = False,
    steps_per_epoch: int | None = None,
) -> Series:
    """The checkpoints of a folder in order, or a single one.

    Args:
        path: a folder, or one checkpoint.
        key: which weights, where files hold several.
        weights: ``model`` (the default) or ``ema``, where files hold trained weights and their moving average.
        order: auto, name or mtime (see ``put_in_order``); a manifest's steps need no other order.
        examine: only look: headers alone are read, no file is hashed to hold it against the manifest, files that
            hold several sets of weights are listed without asking for ``key``, and what is left out is no note.
        unsafe: let pickle run the code of files that cannot be read otherwise.
        steps_per_epoch: optimizer updates in an epoch, for checkpoints that count epochs.

    Raises:
        CheckpointError: there is no checkpoint to read here, or no order to put them in.
        UsageError: ``order`` or ``weights`` is not known, or checkpoints that count no epochs are to.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    if weights and weights not in WEIGHTS:
        raise unknown("kind of weights", weights, WEIGHTS)
    folder, entries, manifest, skipped, notes = gather(path, unsafe)
    if manifest:
        key, weights = key or manifest.key, weights or manifest.weights
    found, inode_twins = once(entries)
    described, failed, empty = describe(found, manifest, key, weights, path.is_file(), examine)
    if not described:
        raise nothing(path, folder, failed, [*skipped, *empty])
    if not key and not weights and any(has_average(d.header.candidates) for d in described):
        weights = "model"
        notes.append(
            "these hold trained weights and a moving average of them: the trained weights are read (--weights)"
        )
    if not examine and (aside := dict.fromkeys(name for d in described for name in d.header.aside)):
        notes.append(f"entries among the weights that are no tensors are left out: {some([*aside])}")
    authoritative = all(d.found.row for d in described)
    content_twins: list[Skipped] = []
    if not authoritative:
        described, content_twins, twin_notes = _drop_copies(described)
        notes += twin_notes
    files = {d.found.file: d for d in described}
    if not examine:
        _require_text(files)
    arranged = put_in_order([_numbered(d) for d in described], order)
    notes += arranged.notes
    if steps_per_epoch:
        arranged = in_steps(arranged, steps_per_epoch)
    series = Series(
        folder,
        tuple(_checkpoint(files[p.file], p.step, p.source) for p in arranged.placed),
        arranged.unit,
        skipped=(*skipped, *empty, *(Skipped(file, why) for file, why in arranged.left_out.items())),
        duplicates=(*inode_twins, *content_twins),
        failed=tuple(failed),
        manifest=manifest,
        key=key,
        weights=weights,
        unsafe=unsafe,
    )
    series.gaps = tuple(gaps(series.steps))
    notes += [
        f"no checkpoint between {series.unit} {a} and {b}, where the usual distance is {usual}"
        for a, b, usual in series.gaps
    ]
    if not examine:
        said = [
            (d.found.file, note) for d in described for note in d.header.notes if note.startswith(RATE_OF)
        ]
        if said:
            rates = some([f"{file} (step{note.removeprefix(RATE_OF)})" for file, note in said])
            notes.append(f"learning rates are those logged at another step: {rates}")
        notes += [f"{d.file} left out: {d.reason}" for d in series.duplicates]
        notes += [f"{file} left out: {why}" for file, why in arranged.left_out.items()]
        notes += _named_alike(
            files, [o for o in (*skipped, *empty) if not any(o.file in note for note in notes)]
        )
        notes += _changed(series, files)
    series.notes = tuple(notes)
    return series


def _named_alike(files: Collection[str], others: Iterable[Skipped]) -> list[str]:
    """What is left out though its name but for the numbers is that of checkpoints: a step that is missing."""
    shapes = {NUMBERS.sub("#", file) for file in files}
    alike = [f"{o.file} ({o.reason})" for o in others if NUMBERS.sub("#", o.file) in shapes]
    return [f"named like the checkpoints, and left out: {some(alike)}"] if alike else []


def _numbered(described: Described) -> Numbered:
    """What the order goes by: the manifest, where there is one, whatever else the file says."""
    own = described.numbers
    numbers = {"manifest": own["manifest"]} if "manifest" in own else own
    found = described.found
    return Numbered(found.file, found.status.st_mtime, numbers, described.lr, described.named, found.ref)


def _require_text(files: Iterable[str]) -> None:
    """Refuse names that no store and no manifest can hold.

    Raises:
        CheckpointError: a name is not UTF-8.
    """
    for file in files:
        try:
            file.encode()
        except UnicodeEncodeError as error:
            plain = "".join(letter if letter.isascii() else "_" for letter in file)
            raise CheckpointError(
                f"expected names of checkpoints in UTF-8, found {os.fsencode(file)!r}",
                f"rename it: mv $'{str(os.fsencode(file))[2:-1]}' {shlex.quote(plain)}",
            ) from error


def _drop_copies(described: list[Described]) -> tuple[list[Described], list[Skipped], list[str]]:
    """The files without copies: of the same bytes, or saved twice at one step.

    Two names with different numbers are both kept, as a step may change nothing.
    """
    by_path = {d.found.path: d for d in described}
    dropped: dict[Path, Skipped] = {}
    notes: list[str] = []

    def drop(groups: Iterable[Iterable[Path]]) -> None:
        for group in groups:
            first, *others = sorted(group, key=lambda path: not by_path[path].numbers["name"])
            for other in others:
                mine, its = (by_path[path].numbers["name"] for path in (first, other))
                if its and mine != its:
                    notes.append(
                        f"{by_path[other].found.file} has the same bytes as {by_path[first].found.file}"
                    )
                else:
                    dropped[other] = Skipped(
                        by_path[other].found.file, f"a copy of {by_path[first].found.file}"
                    )

    drop(digest.same_content(by_path))
    alike: dict[tuple[tuple[str, int], ...], list[Path]] = {}
    for path, one in by_path.items():
        if path not in dropped and path.is_file() and (said := tuple(sorted(one.header.counts.items()))):
            alike.setdefault(said, []).append(path)
    for same in alike.values():
        drop(digest.same_records(same) if len(same) > 1 else [])
    left = [d for path, d in by_path.items() if path not in dropped]
    return left, list(dropped.values()), list(dict.fromkeys(notes))


def _checkpoint(described: Described, step: int, source: str) -> Checkpoint:
    entry, header = described.found, described.header
    epoch = entry.row.epoch if entry.row else None
    if epoch is None:
        known = (described.numbers[source].get("epoch") for source in SOURCES if source in described.numbers)
        epoch = next((number for number in known if number is not None), None)
    sets = [name for name in header.candidates if name]
    notes = [f"weights under {', '.join(sets)}"] if sets else []
    note = "; ".join([*notes, *header.notes])
    return Checkpoint(
        entry.path, entry.file, entry.format.name, step, source, epoch, described.lr,
        digest.size(entry.path), entry.status.st_mtime, header, note,
    )  # fmt: skip


def _changed(series: Series, files: dict[str, Described]) -> list[str]:
    notes = []
    if any(d.found.row and d.found.row.sha256 for d in files.values()):
        series.hash_all()
    for index, checkpoint in enumerate(series):
        row = files[checkpoint.file].found.row
        if row and row.sha256 and series.sha256(index) != row.sha256:
            notes.append(f"{checkpoint.file} is not the file that {MANIFEST} describes: its sha256 differs")
    return notes

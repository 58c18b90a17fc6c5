"""Keeps results side by side: one of each command in the root of a store, the others each in a group of its own."""

from __future__ import annotations

import math

import h5py

from opsigcli.records import Provenance
from opsigcli.result_records import VIRTUAL
from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.store.decode import decode_text
from opsigcli.store.names import SHARPNESS, name_of
from opsigcli.store.schema import KEPT, RESULTS


def make_room(file: h5py.File, command: str, made: Provenance, batch_norm: str) -> None:
    """Take the result of the same name away, wherever it is, and put another one that is in the root aside.

    Args:
        file: open for writing.
        command: that found it.
        made: of the result that will be written into the root.
        batch_norm: of the run, see ``name_of``.
    """
    name = name_of(command, made, batch_norm)
    for place, known in places(file, command, batch_norm).items():
        if known == name:
            _remove(file, command, place)
        elif not place:
            _move(file, command, "", free_place(file))


def bring_forward(file: h5py.File, command: str, name: str, batch_norm: str) -> None:
    """Put the result of that name into the root, and aside what is there."""
    found = {known: place for place, known in places(file, command, batch_norm).items()}
    place = found.get(name, "")
    if place:
        aside = free_place(file)
        _move(file, command, "", aside)
        _move(file, command, place, "")


def bring_widest_forward(file: h5py.File, batch_norm: str) -> None:
    """Put the sharpness that has ratios at most checkpoints into the root; among equals what is there stays."""
    known = places(file, SHARPNESS, batch_norm)
    best = max(known, key=lambda place: (*_extent(file, place), not place), default="")
    if best:
        bring_forward(file, SHARPNESS, known[best], batch_norm)


def places(file: h5py.File, command: str, batch_norm: str) -> dict[str, str]:
    """Where results of a command are, "" for the root, with their names."""
    found = {}
    for place in ("", *(f"{KEPT}/{number}/" for number in sorted(file.get(KEPT, ()), key=int))):
        made = made_at(file, place, command)
        if made is not None:
            found[place] = name_of(command, made, batch_norm)
    return found


def made_at(file: h5py.File, place: str, command: str) -> Provenance | None:
    """How the result of a command that is at a place was made; None where there is none."""
    text = file.get(f"{place}provenance/{command}")
    if text is None and command == VIRTUAL and not place and "virtual" in file:  # as older versions wrote it
        text = file["provenance/trace"]
    return None if text is None else decode_text(Provenance, str(text.asstr()[()]), "provenance")


def free_place(file: h5py.File) -> str:
    """A group for one more result."""
    return f"{KEPT}/{max(map(int, file.get(KEPT, ())), default=-1) + 1}/"


def _extent(file: h5py.File, place: str) -> tuple[int, int]:
    points = decode_text(tuple[SharpnessPoint, ...], str(file[f"{place}sharpness"].asstr()[()]), "sharpness")
    with_ratio = {p.step for p in points if p.ratio is not None and math.isfinite(p.ratio) and p.converged}
    return len(with_ratio), len(points)


def _move(file: h5py.File, command: str, source: str, target: str) -> None:
    for name in RESULTS[command]:
        if f"{source}{name}" in file:
            file.require_group(f"{target}{name}".rpartition("/")[0] or "/")
            file.move(f"{source}{name}", f"{target}{name}")
    _prune(file, source)


def _remove(file: h5py.File, command: str, place: str) -> None:
    for name in RESULTS[command]:
        if f"{place}{name}" in file:
            del file[f"{place}{name}"]
    _prune(file, place)


def _prune(file: h5py.File, place: str) -> None:
    """Remove the group of a result that is there no longer."""
    if place:
        del file[place.rstrip("/")]

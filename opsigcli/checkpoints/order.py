"""The order of a folder's checkpoints: which number is their step, and what is missing between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from opsigcli.checkpoints.base import UNITS
from opsigcli.checkpoints.names import counts, natural
from opsigcli.errors import CheckpointError

ORDERS = ("auto", "name", "mtime")


@dataclass(frozen=True)
class Numbered:
    """A file with the numbers found for it."""

    file: str
    modified: float
    numbers: Mapping[str, tuple[int, str]]  # unit -> (number, source)
    lr: float | None = None


@dataclass(frozen=True)
class Placed:
    """A file's place in the series."""

    file: str
    step: int
    source: str


@dataclass(frozen=True)
class Order:
    """The files in order, the unit of their steps, and the files that found no place (file -> reason)."""

    placed: tuple[Placed, ...]
    unit: str
    left_out: Mapping[str, str]


def put_in_order(files: Sequence[Numbered], order: str) -> Order:
    """The files by step.

    Args:
        files: what was found.
        order: ``auto`` by the best unit that all share (step, then epoch, then a bare number); ``name`` by natural
            order of the names; ``mtime`` by modification time. The last two number the files 0, 1, … unless a
            unit's numbers rise in that order.

    Raises:
        CheckpointError: under ``auto``, no file has a number, units are mixed, or two files say the same number.
    """
    if order == "auto":
        return _by_number(files)
    key = (
        (lambda f: (natural(f.file), f.file))
        if order == "name"
        else (lambda f: (f.modified, natural(f.file)))
    )
    ordered = sorted(files, key=key)
    for unit in UNITS:
        if all(unit in f.numbers for f in ordered):
            steps = [f.numbers[unit][0] for f in ordered]
            if all(a < b for a, b in pairwise(steps)):
                return Order(tuple(_place(f, unit) for f in ordered), unit, {})
    return Order(tuple(Placed(f.file, i, "position") for i, f in enumerate(ordered)), "position", {})


def _by_number(files: Sequence[Numbered]) -> Order:
    if len(files) == 1 and not files[0].numbers:
        return Order((Placed(files[0].file, 0, "position"),), "position", {})
    numbered = [f for f in files if f.numbers]
    left_out = {
        f.file: "no step number in its content, beside it or in its name" for f in files if not f.numbers
    }
    if not numbered:
        raise CheckpointError(
            f"expected step numbers, found none in the contents or names of {_list(list(left_out))}",
            "say how to order them: --order name, or --order mtime",
        )
    shared = [unit for unit in UNITS if all(unit in f.numbers for f in numbered)]
    if not shared:
        examples = {unit: next((f.file for f in numbered if unit in f.numbers), None) for unit in UNITS}
        found = "; ".join(f"{unit} in {file}" for unit, file in examples.items() if file)
        raise CheckpointError(
            f"expected one kind of number in all checkpoints, found several: {found}",
            "keep one kind in the folder, or say --order mtime or --order name",
        )
    clashes: list[str] = []
    for unit in shared:
        kept, aside, clash = _one_per_number(numbered, unit)
        if not clash:
            ordered = sorted(kept, key=lambda f: f.numbers[unit][0])
            return Order(tuple(_place(f, unit) for f in ordered), unit, left_out | aside)
        clashes.append(clash)
    raise CheckpointError(
        f"expected one checkpoint for each number, found {clashes[0]}",
        "they are of several starts of a run, as after a kill: keep the files of one, or say --order name or "
        "--order mtime",
    )


def _one_per_number(files: list[Numbered], unit: str) -> tuple[list[Numbered], dict[str, str], str]:
    """The files to keep, those set aside with the reason, and the first clash there is no rule for.

    The rule: among files that say the same number, the one that has it in its name is meant, and best.pt or last.pt
    is another copy of it.
    """
    by_number: dict[int, list[Numbered]] = {}
    for f in files:
        by_number.setdefault(f.numbers[unit][0], []).append(f)
    kept: list[Numbered] = []
    aside: dict[str, str] = {}
    for number, same in by_number.items():
        named = [f for f in same if counts(f.file)] if len(same) > 1 else same
        if len(named) != 1:
            several = len({f.lr for f in same}) > 1
            told = [f"{f.file} (lr {f.lr:g})" if several and f.lr is not None else f.file for f in same]
            return [], {}, f"{unit} {number} {len(same)} times: in {_list(told)}"
        kept += named
        aside |= {f.file: f"says {unit} {number}, as {named[0].file} does" for f in same if f not in named}
    return kept, aside, ""


def gaps(steps: Sequence[int]) -> list[tuple[int, int, int]]:
    """Where steps are missing in a series: (step before, step after, usual distance).

    A distance is usual when at least half of the neighbours have it; a gap is a larger one.
    """
    distances = [b - a for a, b in pairwise(steps)]
    if len(distances) < 3:
        return []
    usual, times = Counter(distances).most_common(1)[0]
    if times * 2 < len(distances):
        return []
    return [(a, b, usual) for a, b in pairwise(steps) if b - a > usual]


def _place(file: Numbered, unit: str) -> Placed:
    number, source = file.numbers[unit]
    return Placed(file.file, number, source)


def _list(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

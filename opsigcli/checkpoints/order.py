"""The order of a folder's checkpoints: which number is their step, and what is missing between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from opsigcli.checkpoints.agreement import undisputed
from opsigcli.checkpoints.base import UNITS, some
from opsigcli.checkpoints.names import COPY, natural
from opsigcli.checkpoints.placed import Numbered, Order, Placed
from opsigcli.checkpoints.several_runs import (
    WAY,
    require_one_at_a_time,
    require_one_run,
    runs_named,
    taking_turns,
)
from opsigcli.checkpoints.step_keys import LARGEST_STEP
from opsigcli.errors import CheckpointError, UsageError

ORDERS = ("auto", "name", "mtime")


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
        (lambda f: (natural(f.name), f.file))
        if order == "name"
        else (lambda f: (f.modified, natural(f.name)))
    )
    ordered = sorted(files, key=key)
    for unit in UNITS:
        found = [f.best(unit) for f in ordered]
        if all(a and b and a[0] < b[0] for a, b in pairwise(found)) and found[0]:
            return Order(tuple(_place(f, unit) for f in ordered), unit, {})
    return Order(tuple(Placed(f.file, i, "position") for i, f in enumerate(ordered)), "position", {})


def _by_number(files: Sequence[Numbered]) -> Order:
    if len(files) == 1 and not any(files[0].best(unit) for unit in UNITS):
        return Order((Placed(files[0].file, 0, "position"),), "position", {})
    require_one_run(files)
    numbered = [f for f in files if any(f.best(unit) for unit in UNITS)]
    left_out = {
        f.file: "no step number in its content, beside it or in its name" for f in files if f not in numbered
    }
    if not numbered:
        raise CheckpointError(
            f"expected step numbers, found none in the contents or names of {some(list(left_out))}",
            "say how to order them: --order name, or --order mtime",
        )
    own = _no_copies(numbered)
    left_out |= {
        f.file: "its name is of a copy, and its number may count something else"
        for f in numbered
        if f not in own
    }
    numbered = own
    shared = [unit for unit in UNITS if all(f.best(unit) for f in numbered)]
    if not shared and (alike := _named_alike(numbered)):
        aside = {
            f.file: "its name has no number, and those of others have" for f in numbered if f not in alike
        }
        left_out |= aside
        numbered = alike
        shared = [unit for unit in UNITS if all(f.best(unit) for f in numbered)]
    if not shared:
        examples = {unit: next((f.file for f in numbered if f.best(unit)), None) for unit in UNITS}
        found = "; ".join(f"{unit} in {file}" for unit, file in examples.items() if file)
        raise CheckpointError(
            f"expected one kind of number in all checkpoints, found several: {found}",
            "keep one kind in the folder, or say --order mtime or --order name",
        )
    clashes: list[str] = []
    for unit in shared:
        kept, aside, clash = _one_per_number(numbered, {f.file: f.best(unit) for f in numbered}, unit)
        if not clash:
            _require_one_series(kept, unit)
            ordered = sorted(kept, key=lambda f: f.best(unit) or (0, ""))
            said = tuple(f"found {other}: the order is that of the {unit}" for other in clashes)
            order = Order(tuple(_place(f, unit) for f in ordered), unit, left_out | aside)
            require_one_at_a_time(order, kept)
            order = undisputed(order, kept)
            return replace(order, notes=(*order.notes, *said, *taking_turns(order, kept)))
        clashes.append(clash)
    if by_name := _by_names_alone(numbered, left_out):
        return by_name
    if runs := runs_named(numbered):
        raise CheckpointError(
            f"expected one checkpoint for each number, found {clashes[0]}; their names say several runs: {some(runs)}",
            WAY,
        )
    families = sorted({f.named.family for f in numbered if f.numbers.get("name")})
    why = (
        f"several series ({some(families)})"
        if len(families) > 1
        else "several starts of a run, as after a kill"
    )
    way = "put each into a folder of its own" if len(families) > 1 else "keep the files of one"
    if _anew_in_each_epoch(numbered):
        raise CheckpointError(
            f"expected one checkpoint for each number, found {clashes[0]}: steps begin anew in each epoch",
            "say --order name, which puts them in order by epoch and step, or name files by steps of the whole run",
        )
    raise CheckpointError(
        f"expected one checkpoint for each number, found {clashes[0]}",
        f"they are of {why}: {way}, or say --order name or --order mtime",
    )


def _anew_in_each_epoch(files: Sequence[Numbered]) -> bool:
    """Whether names count epochs and something within each, as epoch_1_batch_200 and e1_b200 do, in the order of
    names."""
    epochs = {f.file: f.numbers.get("name", {}).get("epoch") for f in files}
    if None in epochs.values() or len({f.named.family for f in files}) > 1:
        return False
    counted = {f.file: (epochs[f.file], *map(int, re.findall(r"\d+", f.name))) for f in files}
    by_name = [counted[f.file] for f in sorted(files, key=lambda f: (natural(f.name), f.file))]
    return all(a < b for a, b in pairwise(by_name))


def _no_copies(files: Sequence[Numbered]) -> list[Numbered]:
    """The files without those called best or last whose one number is in their name, after no word for what it counts,
    beside others that are called neither: best_model_3.pt beside checkpoint_100.pt may be of another counter."""
    copies = [f for f in files if COPY.search(f.name.lower())]
    doubtful = [f for f in copies if {s: n.keys() for s, n in f.numbers.items() if n} == {"name": {"number"}}]
    others = [f for f in files if not COPY.search(f.name.lower())]
    families = {f.named.family for f in others}
    return (
        [f for f in files if f not in doubtful or f.named.family in families] if len(others) > 1 else [*files]
    )


def _named_alike(files: Sequence[Numbered]) -> list[Numbered]:
    """The files with numbers in their names, where those are of one kind and there are several; else none."""
    named = [f for f in files if f.numbers.get("name")]
    return named if len(named) > 1 and len({f.named.family for f in named}) == 1 else []


def _one_per_number(
    files: list[Numbered], numbers: Mapping[str, tuple[int, str] | None], unit: str
) -> tuple[list[Numbered], dict[str, str], str]:
    """The files to keep, those set aside with the reason, and the first clash there is no rule for.

    The rule: among files that say the same number, the one that has it in its name is meant, and best.pt, last.pt or
    best_epoch_3.pt is another copy of it.
    """
    by_number: dict[int, list[Numbered]] = {}
    for f in files:
        by_number.setdefault((numbers[f.file] or (0, ""))[0], []).append(f)
    kept: list[Numbered] = []
    aside: dict[str, str] = {}
    for number, same in by_number.items():
        named = [f for f in same if f.numbers.get("name")] if len(same) > 1 else same
        if len(named) > 1:  # best_acc_epoch_3.pth beside epoch_3.pth
            named = [f for f in named if not COPY.search(f.name.lower())] or named
        if len(named) != 1:
            several = len({f.lr for f in same}) > 1
            told = [f"{f.file} (lr {f.lr:g})" if several and f.lr is not None else f.file for f in same]
            return [], {}, f"{unit} {number} {len(same)} times: in {some(told)}"
        kept += named
        aside |= {f.file: f"says {unit} {number}, as {named[0].file} does" for f in same if f not in named}
    return kept, aside, ""


def _by_names_alone(files: Sequence[Numbered], left_out: Mapping[str, str]) -> Order | None:
    """The files by the numbers in their names, where those in the files say some twice; None where names do too."""
    for unit in UNITS:
        named = [f for f in files if unit in f.numbers.get("name", ())]
        meant = {f.file: f.numbers["name"][unit] for f in named}
        if len(named) > 1 and len({*meant.values()}) == len(named):
            _require_one_series(named, unit)
            others = {f.file: "no number in its name, and that in the file is not its own" for f in files}
            ordered = sorted(named, key=lambda f: meant[f.file])
            placed = tuple(Placed(f.file, meant[f.file], "name") for f in ordered)
            aside = {file: why for file, why in others.items() if file not in meant}
            note = (
                f"the order is that of the {unit} in the names: the numbers in the files are not one for each"
            )
            order = Order(placed, unit, {**left_out, **aside}, (note,))
            require_one_at_a_time(order, named)
            return replace(order, notes=(note, *taking_turns(order, named)))
    return None


def _require_one_series(files: Sequence[Numbered], unit: str) -> None:
    """Refuse numbers that only names give, of names that differ in more than a number.

    Raises:
        CheckpointError: there are several kinds of names.
    """
    series = sorted({f.named.family for f in files if (f.best(unit) or (0, ""))[1] == "name"})
    if unit == "number" and len(series) > 1:
        raise CheckpointError(
            f"expected names that are alike but for one number, found several series: {some(series)}",
            "put each series into a folder of its own, or say --order name or --order mtime",
        )


def in_steps(order: Order, per_epoch: int) -> Order:
    """The order with optimizer updates in place of epochs: epoch e is step ``e · per_epoch``.

    A number of which the names do not say what it counts is taken for an epoch, as the user says that it is one.

    Raises:
        UsageError: the checkpoints count steps already, or only their places are known.
    """
    if order.unit not in ("epoch", "number"):
        what = "steps" if order.unit == "step" else "nothing: only their places are known"
        raise UsageError(
            f"expected checkpoints that count epochs for --steps-per-epoch; these count {what}",
            "leave --steps-per-epoch out",
        )
    placed = tuple(replace(p, step=p.step * per_epoch) for p in order.placed)
    if placed and placed[-1].step > LARGEST_STEP:
        raise UsageError(
            f"expected steps of at most {LARGEST_STEP:,}, found {placed[-1].step:,} for {placed[-1].file}",
            "give a smaller --steps-per-epoch",
        )
    return replace(order, placed=placed, unit="step")


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
    number, source = file.best(unit) or (0, "position")
    return Placed(file.file, number, source)

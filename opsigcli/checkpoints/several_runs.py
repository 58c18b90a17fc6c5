"""Whether the checkpoints of a folder are of one run: losses jump between two, as in spikes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

from opsigcli.checkpoints.base import some
from opsigcli.checkpoints.names import COPY, MEASURES, NUMBERS, counts, stem
from opsigcli.checkpoints.placed import Numbered, Order
from opsigcli.errors import CheckpointError

# Two seeds are never of one run. A run or a version may go on where the one before ended.
_NEVER_ONE = ("seed", "fold", "trial")
_MAY_GO_ON = ("run", "exp", "experiment", "version", "split", "replica")
# seed1, fold-0, runA, run_baseline; a word of several letters only where something parts it from the other.
_RUN = re.compile(
    rf"(?:^|[^a-z])({'|'.join(_NEVER_ONE + _MAY_GO_ON)})(?:[=_-]?(\d+|[a-z])|[=_-]([a-z0-9]+))(?![a-z0-9])",
    re.IGNORECASE,
)
# Parts of a run, in each of which its steps begin anew.
_STAGE = re.compile(r"(?:^|[^a-z])(stage|phase|ingredient)[=_-]?(\d+)(?![a-z0-9])", re.IGNORECASE)
_SHOWN = 3  # runs

WAY = "put each run into a folder of its own, or, if they are of one run, say --order mtime or --order name"


def require_one_run(files: Sequence[Numbered]) -> None:
    """Refuse names that say to be of several seeds or folds.

    Raises:
        CheckpointError: they do.
    """
    for word, told in _told(files).items():
        if word in _NEVER_ONE and len({*told.values()}) > 1:
            raise _several(told)


def require_one_at_a_time(order: Order, files: Sequence[Numbered]) -> None:
    """Refuse names that say to be of several runs, which take turns in the order of their steps, or of stages that do.

    Raises:
        CheckpointError: they do.
    """
    _require_stages_in_order(order)
    for told in _told(files).values():
        if _turns([told[p.file] for p in order.placed if p.file in told]):
            raise _several(told)


def runs_named(files: Sequence[Numbered]) -> list[str]:
    """The runs that names say they are of, where they say several: ``run1``, ``run2``."""
    return next((sorted({*told.values()}) for told in _told(files).values() if len({*told.values()}) > 1), [])


def taking_turns(order: Order, files: Sequence[Numbered]) -> tuple[str, ...]:
    """A note where names of two kinds take turns, as of two runs in one folder, whose numbers happen not to meet.

    A kind is a family of names, or a number in them that several share and that goes back to what it was: ``1_10``,
    ``2_15``, ``1_20``. What a word says to measure (a loss, an accuracy) goes up and down in one run.
    """
    by_file = {f.file: f for f in files}
    placed = [by_file[p.file] for p in order.placed]
    kinds = [f.named.family for f in placed if f.named.family]
    often = Counter(kinds)
    kinds = [kind for kind in kinds if often[kind] > 1]  # one alone is a copy or an end
    told = some(sorted({*kinds})) if _turns(kinds) else _column_in_turn(placed)
    if not told:
        return ()
    return (
        f"files with names of several kinds take turns ({told}): if they are of several runs, put each into a folder "
        "of its own",
    )


def _require_stages_in_order(order: Order) -> None:
    """Refuse names that say to be of several stages of a run, whose steps put a later stage before an earlier one.

    Raises:
        CheckpointError: they do.
    """
    last: dict[str, tuple[int, str]] = {}
    for placed in order.placed:
        for match in _STAGE.finditer(stem(placed.file)):
            word, number = match[1].lower(), int(match[2])
            before, file = last.get(word, (number, ""))
            if number < before:
                raise CheckpointError(
                    f"expected steps that go on from {word} to {word}, found those of {file} before those of "
                    f"{placed.file}: steps begin anew in each {word}",
                    f"say --order name, which puts them in order by {word} and step, or name files by steps of the "
                    "whole run",
                )
            last[word] = number, placed.file


def _column_in_turn(placed: Sequence[Numbered]) -> str:
    """The values of a number in otherwise alike names that take turns along the order; "" where none does."""
    texts = [stem(f.name.lower()) for f in placed]
    rows = [list(NUMBERS.finditer(text)) for text in texts]
    between = {tuple(NUMBERS.split(text)[:: NUMBERS.groups + 1]) for text in texts}
    if len(between) > 1 or not rows:
        return ""
    for c, before in enumerate(next(iter(between))[:-1]):
        values = [row[c][0] for row in rows]
        # A real number without a word for it is a measure; one that stands in a single name may be a time.
        whole = all(row[c]["whole"] for row in rows) and min(Counter(values).values()) > 1
        if whole and not MEASURES.search(before) and _turns(values):
            return ", ".join(f"{before}{value}" for value in sorted({*values})[:_SHOWN])
    return ""


def _turns(kinds: Sequence[Hashable]) -> bool:
    """Whether of several kinds one comes again after others came."""
    amount = len({*kinds})
    return amount > 1 and sum(a != b for a, b in pairwise(kinds)) >= amount


def _told(files: Sequence[Numbered]) -> dict[str, dict[str, str]]:
    """Word (seed, fold, run) to the run that each name says with it."""
    found: dict[str, dict[str, str]] = {}
    for f in files:
        for match in _RUN.finditer(stem(f.name)):
            value = match[2] or match[3]
            if match[2] or not (
                counts(value) or COPY.search(value.lower())
            ):  # run-step10 and run-final name no run
                found.setdefault(match[1].lower(), {})[f.file] = f"{match[1]}{'' if match[2] else ' '}{value}"
    return found


def _several(told: Mapping[str, str]) -> CheckpointError:
    names = sorted({*told.values()})
    each = [f"{name} ({next(file for file in told if told[file] == name)})" for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return CheckpointError(
        f"expected the checkpoints of one run, found {len(names)} by their names: {', '.join(each)}{more}",
        WAY,
    )

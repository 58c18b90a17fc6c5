"""Odd input and kills over all commands: ``python tests/benchmarks/fuzz_and_kill.py --cases 10000 --kills 300``.

Each case changes a small finished folder (``tests/fuzz_kinds.py`` says how) and runs one command on it in a process of
its own (``tests/trial.py``). Each kill ends a command at a random moment; the same command is then run again and its
outcome held against an undisturbed one (``tests/kill_rounds.py``). Prints one table of each, and what was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import copyreg
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# Forks bear no threads of torch. Set before it is imported.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import kill_rounds
from fuzz_case import Case, template
from fuzz_kinds import KINDS
from trial import FAKES, End, Place, attempt

from opsigcli.cli.app import run

FAIR = (0, 2, 3, 4)


@dataclass
class Tally:
    """What the cases of one kind came to."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)  # a line for each that was wrong
    seconds: float = 0.0

    def add(self, name: str, case: Case, end: End, lost: bool) -> None:
        """Count one end of a case."""
        code = "hang" if end.code is None else str(end.code)
        self.codes[code] += 1
        self.seconds += end.seconds
        wrong = [
            *(["hang"] if end.code is None else ["exit"] if end.code not in FAIR else []),
            *(["traceback"] if "Traceback" in end.said else []),
            *(["execution"] if end.programs else []),
            *(["outside"] if end.outside else []),
            *(["accepted"] if case.refused and end.code == 0 else []),
            *(["lost"] if lost else []),
        ]
        self.wrong.update(wrong)
        if wrong:
            last = " | ".join(end.said.strip().splitlines()[-3:])[-500:]
            self.said.append(
                f"{name}: {', '.join(wrong)} ({code}): {case.words!r} [{case.change}] "
                f"{' '.join((*end.programs, *end.outside))} {last}"
            )


def prepare(base: Path) -> Path:
    """A template under ``base``; from here on, no program and no key of the user's is in reach."""
    programs = base / "programs"
    programs.mkdir()
    for name in FAKES:
        (programs / name).write_text('#!/bin/sh\ntouch "$PWD/../guard/ran"\nexit 0\n')
        (programs / name).chmod(0o755)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    os.environ["XDG_STATE_HOME"] = str(base / "state")
    for name in [name for name in os.environ if name.startswith("OPSIG_")]:
        del os.environ[name]
    folder = base / "template"
    with contextlib.redirect_stdout(io.StringIO()):
        template(folder, lambda *words: run(list(words)))
    return folder


def sound(store: Path) -> bool:
    """Whether a store opens and has its losses."""
    from opsigcli.store.reader import open_store

    try:
        with open_store(store) as opened:
            return bool(len(opened.losses_at(0)))
    except Exception:
        return False


def fuzz(base: Path, folder: Path, kinds: Iterable[str], cases: int, seed: int) -> dict[str, Tally]:
    """Run cases of each kind; the seed of a case depends on its kind and number alone."""
    with contextlib.suppress(ValueError):  # as another package could put it there
        copyreg.add_extension("posix", "system", 240)
    found = {}
    place = Place(base / f"case-{os.getpid()}")
    for name in kinds:
        tally, said = Tally(), 0
        found[name] = tally
        for number in range(cases):
            place.lay(folder)
            case = KINDS[name](random.Random(f"{seed} {name} {number}"), place)
            end = attempt(place, case.words)
            lost = case.store and not sound(place.work / "opsig.h5")
            tally.add(f"{name} {number}", case, end, lost)
            if len(tally.said) > said:
                said += 1
                print(tally.said[-1], flush=True)
    shutil.rmtree(place.root, ignore_errors=True)
    return found


def table(found: dict[str, Tally]) -> str:
    """One line for each kind of case, and one for all."""
    columns = ("hang", "exit", "traceback", "execution", "outside", "accepted", "lost")
    lines = [f"{'kind':18} {'cases':>6} {'0':>6} {'2':>6} {'3':>6} {'4':>6} {'70':>5} "
             + " ".join(f"{c:>9}" for c in columns) + "  seconds"]  # fmt: skip
    whole = Tally()
    for name, tally in [*found.items(), ("all", whole)]:
        counts = [tally.codes[code] for code in ("0", "2", "3", "4")]
        lines.append(
            f"{name:18} {tally.codes.total():6} " + " ".join(f"{n:6}" for n in counts)
            + f" {tally.codes['70']:5} " + " ".join(f"{tally.wrong[c]:9}" for c in columns) + f" {tally.seconds:8.0f}"
        )  # fmt: skip
        whole.codes.update(tally.codes)
        whole.wrong.update(tally.wrong)
        whole.seconds += tally.seconds
    return "\n".join(lines)


def kill_table(found: dict[str, kill_rounds.Killed]) -> str:
    """One line for each command that was killed."""
    columns = ("exit", "traceback", "not resumed", "redone", "leftover", "lost", "different")
    lines = [f"{'command':10} {'kills':>6} {'late':>6} " + " ".join(f"{c:>11}" for c in columns)]
    for name, tally in found.items():
        counts = " ".join(f"{tally.wrong[c]:11}" for c in columns)
        lines.append(f"{name:10} {tally.kills:6} {tally.late:6} {counts}  {dict(tally.codes)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000, help="in all kinds together")
    parser.add_argument("--kills", type=int, default=300, help="in all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name holds this word")
    parser.add_argument("--command", default="", help="commands to kill whose name holds this word")
    chosen = parser.parse_args()
    kinds = [name for name in KINDS if chosen.only in name]
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        folder, begin = prepare(base), time.monotonic()
        found = (
            fuzz(base, folder, kinds, -(-chosen.cases // max(1, len(kinds))), chosen.seed)
            if chosen.cases
            else {}
        )
        if found:
            print(table(found))
        killed = {}
        commands = [name for name in kill_rounds.COMMANDS if chosen.kills and chosen.command in name]
        for name in commands:
            where, each = Place(base / "killed"), -(-chosen.kills // len(commands))
            killed[name] = kill_rounds.torture(
                where, folder, kill_rounds.COMMANDS[name], each, f"{chosen.seed} {name}"
            )
            print("\n".join(killed[name].said), flush=True)
        if killed:
            print(kill_table(killed))
        print(f"{time.monotonic() - begin:.0f} s")
    return int(any(tally.wrong for tally in (*found.values(), *killed.values())))


if __name__ == "__main__":
    raise SystemExit(main())

"""Commands killed at random moments, run again, and held against undisturbed ones."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import h5py
from fuzz_case import SPECS
from trial import Place

Words = tuple[str, ...]
SIGNALS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143,), signal.SIGINT: (130,)}
COLD = 10  # one process in so many is started anew with its imports, and not forked
COMMANDS: dict[str, Words] = {
    "train": ("train", "new", *SPECS, "--steps", "60", "--save-every", "1"),
    "init": ("init", "st", *SPECS),
    "trace": ("trace", "run", "--store", "new.h5", "--virtual-step"),
    "mine": ("mine", "--surrogates", "3", "--export", "out.csv"),
    "sharpness": ("sharpness", "--every", "2", "--layers", "--spectrum", "--max-matvecs", "30"),
    "report": ("report", "--html"),
}


@dataclass
class Killed:
    """What the kills of one command came to."""

    kills: int = 0
    late: int = 0  # the command had ended before the signal
    codes: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        self.wrong[kind] += 1
        self.said.append(f"{kind}: {text}")


def start(place: Place, words: Words, cold: bool) -> tuple[int, float]:
    """Begin ``opsig *words``; returns its process and when its first line ran, or was about to."""
    said = os.open(place.root / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if cold:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen([sys.executable, "-m", "opsigcli", *words, "--quiet"], cwd=place.work,
                                   env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)  # fmt: skip
        os.close(said)
        time.sleep(0.2)  # Python's own start
        process.returncode = 0  # waited for by its number
        return process.pid, time.monotonic()
    ready, begun = os.pipe()
    child = os.fork()
    if not child:
        code = 70
        try:
            for number in (1, 2):
                os.dup2(said, number)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
            os.chdir(place.work)
            sys.argv = ["opsig", *words, "--quiet"]
            sys.modules.pop("opsigcli.__main__", None)
            from opsigcli.__main__ import main

            os.write(begun, b"x")
            main()
        except SystemExit as end:
            code = int(str(end.code or 0))
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}\n".encode())
        finally:
            os._exit(code)
    os.close(said)
    os.close(begun)
    os.read(ready, 1)
    os.close(ready)
    return child, time.monotonic()


def finish(place: Place, words: Words) -> tuple[int, float]:
    """Run a command to its end; its exit code, and seconds."""
    child, begin = start(place, words, False)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - begin


def outcome(work: Path) -> dict[str, str]:
    """A digest of every file below a folder, and of everything in its stores."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        if path.suffix == ".h5" and path.is_file():
            with h5py.File(path) as file:

                def add(inner: str, node: h5py.Group | h5py.Dataset, name: str = name) -> None:
                    value = node[()] if isinstance(node, h5py.Dataset) else ""
                    raw = (
                        value.tobytes() if getattr(value, "dtype", None) is not None else repr(value).encode()
                    )
                    if isinstance(node, h5py.Dataset) and node.dtype.kind == "O":
                        raw = repr(value).encode()
                    words = repr(sorted(node.attrs.items())).encode()
                    found[f"{name}:{inner}"] = hashlib.sha256(words + raw).hexdigest()

                file.visititems(add)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def _units(work: Path) -> dict[str, tuple[int, int]]:
    """Finished units, with what changes when one is written again."""
    return {
        str(p.relative_to(work)): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in (*work.glob("*.parts/*.unit"), *work.glob("new/step-*.safetensors"))
    }


def torture(place: Place, template: Path, words: Words, kills: int, seed: str) -> Killed:
    """Kill a command ``kills`` times; after one kill or a few it ends and is held against an undisturbed run."""
    dice, tally = random.Random(seed), Killed()
    ends, seconds = [], 0.0
    for _ in range(2):  # what differs between two undisturbed runs is a time
        place.lay(template)
        code, seconds = finish(place, words)
        if code:
            raise SystemExit(f"opsig {words[0]} ended with {code}: {(place.root / 'said').read_text()}")
        ends.append(outcome(place.work))
    times = {name for name in ends[0] if ends[0][name] != ends[1].get(name)}
    place.lay(template)
    while tally.kills < kills and tally.late < kills:
        number = dice.choice(list(SIGNALS))
        before = _units(place.work)
        child, begin = start(place, words, dice.random() * COLD < 1)
        time.sleep(max(0.0, begin + dice.random() * seconds * 1.05 - time.monotonic()))
        os.kill(child, number)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = (place.root / "said").read_text(errors="replace")
        tally.codes[str(code)] += 1
        tally.kills, tally.late = tally.kills + (code != 0), tally.late + (code == 0)
        what = f"{words[0]} {number.name} kill {tally.kills}"
        if code not in (0, *SIGNALS[number]):
            tally.fault("exit", f"{what}: {code} {said[-400:]}")
        if "Traceback" in said:
            tally.fault("traceback", f"{what}: {said[-400:]}")
        after = _units(place.work)
        if redone := [name for name, stamp in before.items() if after.get(name, stamp) != stamp]:
            tally.fault("redone", f"{what}: {' '.join(redone)[:300]}")
        if dice.random() < 0.3 and tally.kills < kills:
            continue  # killed again before it came to an end
        again, _ = finish(place, words)
        if again:
            tally.fault("not resumed", f"{what}: {again} {(place.root / 'said').read_text()[-400:]}")
        end = outcome(place.work)
        more, less = sorted({*end} - {*ends[0]}), sorted({*ends[0]} - {*end})
        other = sorted(n for n in end if n in ends[0] and n not in times and end[n] != ends[0][n])
        for kind, names in (("leftover", more), ("lost", less), ("different", other)):
            if names:
                tally.fault(kind, f"{what}: {' '.join(names)[:300]}")
        place.lay(template)
    return tally

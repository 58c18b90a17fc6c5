"""Kill ``opsig trace`` at random moments, many times: ``python tests/benchmarks/kill.py --kills 200``.

After every kill: the store, if there is one, opens; finished units are untouched. At the end the store holds the same
bytes as one that was made without disturbance.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import torch
import torch._dynamo  # what optimizers import at their first step; children find it imported

from opsigcli.cli.app import run
from opsigcli.store.reader import open_store

UNITS = "opsig.h5.parts"


@dataclass
class Tally:
    """What a series of kills left behind."""

    kills: int = 0
    rounds: int = 0  # traces brought to their end
    redone: int = 0  # finished units that a later process wrote again
    unreadable: int = 0  # stores that did not open after a kill
    leftovers: int = 0  # temporary files that kills left
    unswept: int = 0  # of those, still there after the next run to the end
    different: list[str] = field(default_factory=list)  # rounds whose result is not the undisturbed one

    @property
    def sound(self) -> bool:
        """Nothing went wrong."""
        return not (self.redone or self.unreadable or self.unswept or self.different)


def opsig(folder: Path, *words: str) -> BaseProcess:
    """Start opsig in ``folder`` as a process of its own, forked so that torch need not be imported each time."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(folder, words))
    process.start()
    return process


def _child(folder: Path, words: tuple[str, ...]) -> None:
    os.chdir(folder)
    os._exit(run([*words, "--quiet"]))


def finish(folder: Path, *words: str) -> float:
    """Run opsig to its end; returns the seconds it took."""
    begin = time.perf_counter()
    process = opsig(folder, *words)
    process.join()
    if process.exitcode:
        raise SystemExit(f"opsig {' '.join(words)} ended with {process.exitcode}")
    return time.perf_counter() - begin


def content(store: Path) -> str:
    """Digest of everything in a store: names, attributes, shapes and raw values."""
    digest = hashlib.sha256()
    with h5py.File(store) as file:

        def add(name: str, node: h5py.Group | h5py.Dataset) -> None:
            digest.update(name.encode() + repr(sorted(node.attrs.items())).encode())
            if isinstance(node, h5py.Dataset):
                value = node[()]
                raw = value.tobytes() if node.dtype.kind != "O" else repr(value).encode()
                digest.update(f"{node.shape}{node.dtype}".encode() + raw)

        file.visititems(add)
    return digest.hexdigest()


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Finished units, with what changes when one is written again."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (folder / UNITS).glob("*.unit")}


def torture(folder: Path, words: tuple[str, ...], kills: int, seed: int = 0) -> Tally:
    """Kill the trace of ``folder/run`` ``kills`` times, starting anew whenever it gets to its end."""
    dice, tally, store = random.Random(seed), Tally(), folder / "opsig.h5"
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "run").symlink_to(folder / "run", target_is_directory=True)
    seconds = finish(undisturbed, "trace", "run", *words)
    expected = content(undisturbed / "opsig.h5")
    while tally.kills < kills:
        before = stamps(folder)
        process = opsig(folder, "trace", "run", *words)
        # Start-up takes most of a run: half of the kills wait until work has begun.
        if dice.random() < 0.5:
            while process.is_alive() and stamps(folder) == before and not list(folder.glob("*.tmp")):
                time.sleep(0.002)
            time.sleep(dice.random() ** 2 * seconds)
        else:
            time.sleep(dice.random() * seconds)
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was faster
            tally.rounds += 1
            check(folder, words, expected, tally)
            continue
        tally.kills += 1
        after = stamps(folder)
        tally.redone += sum(name in after and after[name] != stamp for name, stamp in before.items())
        tally.leftovers += len(list(folder.rglob("*.tmp")))
        if store.exists():
            try:
                with open_store(store) as opened:
                    opened.losses_at(0)
            except Exception as error:
                print(f"after kill {tally.kills}: {error}")
                tally.unreadable += 1
    finish(folder, "trace", "run", *words)
    tally.rounds += 1
    check(folder, words, expected, tally)
    return tally


def check(folder: Path, words: tuple[str, ...], expected: str, tally: Tally) -> None:
    """Hold a finished trace against the undisturbed one, and start anew."""
    finish(folder, "trace", "run", *words)  # nothing left to do: it only clears away
    tally.unswept += len(list(folder.rglob("*.tmp"))) + (folder / UNITS).exists()
    if content(folder / "opsig.h5") != expected:
        tally.different.append(f"round {tally.rounds}")
    (folder / "opsig.h5").unlink()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--virtual-step", action="store_true")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        finish(
            folder,
            "train",
            "run",
            "--data",
            "planted?n=3000",
            "--steps",
            "60",
            "--model",
            "mlp?hidden=400,400",
        )
        tally = torture(folder, ("--virtual-step",) if chosen.virtual_step else (), chosen.kills, chosen.seed)
    print(
        f"{tally.kills} kills, {tally.rounds} traces finished; stores that did not open: {tally.unreadable}; "
        f"finished units written again: {tally.redone}; temporary files left by kills: {tally.leftovers}, "
        f"still there after a finished run: {tally.unswept}; results that differ from the undisturbed one: "
        f"{len(tally.different)}"
    )
    raise SystemExit(0 if tally.sound else 1)


if __name__ == "__main__":
    main()

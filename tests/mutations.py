"""Proof that tests watch over gates, tolerances and nulls: ``python tests/mutations.py [--only WORD] [--jobs N]``.

Each mutation weakens one line of the package and names the test that has to fail then. All named tests first pass on
the package as it is; then each mutation is made by itself in a copy. A mutation that no named test notices, or
whose line is no longer there, makes the exit code 1. ``--against TESTS`` runs other tests instead of the named ones,
to see what those alone would notice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutation:
    """One changed line, and what has to notice it."""

    file: str  # below opsigcli/
    old: str  # in the file exactly once
    new: str
    test: str  # below tests/, a file or a node id


def gates(file: str, test: str, *changes: tuple[str, str, str]) -> list[Mutation]:
    """Mutations of one file that tests of one file notice: (old, new, test)."""
    return [Mutation(file, old, new, f"{test}::{name}" if name else test) for old, new, name in changes]


MUTATIONS: list[Mutation] = [
    *gates(
        "mining/proposals.py",
        "mining/test_gates.py",
        ("OPPOSED = 0.1 ", "OPPOSED = -9.0 ", ""),
    ),
]


class Copy:
    """The package and its tests in a folder of their own, where lines can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("opsigcli", "tests"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "benchmarks")
            )
        shutil.copy(ROOT / "pyproject.toml", folder)

    def test(self, names: list[str]) -> subprocess.CompletedProcess[str]:
        """Run some tests up to the first failure."""
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # Bytecode is told from its source by seconds and size, which a mutation need not change.
        surroundings |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        return subprocess.run(words, cwd=self.folder, env=surroundings, capture_output=True, text=True)

    def fails(self, mutation: Mutation, tests: list[str]) -> tuple[bool, str]:
        """Whether tests fail under the mutation, and a word about how."""
        path = self.folder / "opsigcli" / mutation.file
        whole = path.read_text()
        if whole.count(mutation.old) != 1:
            return False, f"line found {whole.count(mutation.old)} times"
        path.write_text(whole.replace(mutation.old, mutation.new))
        try:
            found = self.test(tests)
        finally:
            path.write_text(whole)
        # 1: tests failed. Anything else that is not 0 is an error of pytest, or a test that is not there.
        word = {0: "green", 1: "red"}.get(found.returncode, f"pytest ended with {found.returncode}")
        return found.returncode == 1, word


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="mutations whose file or line holds this")
    parser.add_argument("--against", nargs="*", help="tests to run instead of the named ones")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    mutations = [m for m in MUTATIONS if chosen.only in m.file or chosen.only in m.old]
    against = chosen.against or sorted({f"tests/{m.test}" for m in mutations})
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(chosen.jobs):
            copies.put(Copy(Path(folder) / str(number)))
        copy = copies.get()
        plain = copy.test(against)
        copies.put(copy)
        if plain.returncode:
            print(plain.stdout[-3000:] + plain.stderr[-1000:])
            return 1

        def attempt(mutation: Mutation) -> tuple[bool, str, float]:
            copy, began = copies.get(), time.monotonic()
            try:
                return *copy.fails(mutation, chosen.against or [f"tests/{mutation.test}"]), time.monotonic() - began
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(chosen.jobs) as pool:
            for mutation, (noticed, word, seconds) in zip(mutations, pool.map(attempt, mutations), strict=True):
                unnoticed += not noticed
                change = f"{mutation.old.strip()} -> {mutation.new.strip()}"
                print(f"{word:8} {seconds:5.1f} s  {mutation.file}: {change}  [{mutation.test}]", flush=True)
    print(f"{len(mutations) - unnoticed} of {len(mutations)} mutations noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    raise SystemExit(main())

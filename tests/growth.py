"""Peak memory of a program that writes a store of many checkpoints and does something with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux")

ROOT = Path(__file__).parents[1]
BEGIN = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
    "from tests.benchmarks.store import content, peak; from opsigcli.store.writer import write_trace\n"
    "from opsigcli.store.reader import open_store\n"
    "store = Path(sys.argv[2]); write_trace(store, content(100_000, int(sys.argv[3])))\n"
)


def growth(folder: Path, program: str) -> float:
    """GiB that ``program`` takes at most on 200 checkpoints beyond those on 20; their losses are 0.067 GiB more."""
    peaks = []
    for checkpoints in (20, 200):
        words = [str(ROOT), str(folder / "s.h5"), str(checkpoints)]
        call = [sys.executable, "-c", BEGIN + program + "print(peak())", *words]
        peaks.append(float(subprocess.run(call, capture_output=True, text=True, check=True).stdout))
    return peaks[1] - peaks[0]

"""Short versions of the fuzz and of the kills; ``tests/benchmarks/fuzz_and_kill.py`` runs as many as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(*words: str) -> str:
    script = [sys.executable, str(ROOT / "tests" / "benchmarks" / "fuzz_and_kill.py"), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_case_of_a_short_fuzz_runs_writes_outside_hangs_or_ends_as_a_bug() -> None:
    assert "all                    20" in _run("--cases", "20", "--kills", "0")


@pytest.mark.slow
def test_every_command_that_was_killed_comes_to_the_end_of_an_undisturbed_one() -> None:
    assert "sharpness" in _run("--cases", "0", "--kills", "12")

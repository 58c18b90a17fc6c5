"""Threads of mining and their cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def told(code: str, **environment: str) -> str:
    """What a new Python prints."""
    bare = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code], env=bare | environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "1"),
        # A batch system's share of the cores is for processes: threads of products inside of mining's own spin.
        ({"OMP_NUM_THREADS": "8"}, "1"),
        ({"OPENBLAS_NUM_THREADS": "3"}, "3"),
    ],
)
def test_products_inside_of_threads_have_one_thread(given: dict[str, str], expected: str) -> None:
    assert (
        told("import os, opsigcli.__main__; print(os.environ['OPENBLAS_NUM_THREADS'])", **given) == expected
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_bound_to_one_core_has_one() -> None:
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert told(bound + "from opsigcli.mining.side_by_side import AT_ONCE; print(AT_ONCE)") == "1"

"""Memory that is freed stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from opsigcli.cli.allocator import keep_freed_memory

kept = keep_freed_memory() if "keep" in sys.argv else 0
size = (kept or 64 << 20) * 5 // 8  # beyond what glibc keeps by itself

def use():
    torch.ones(size // 4).add_(1)

for _ in range(5):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> tuple[int, int]:
    """The size of the blocks that are kept, and the page faults of using one ten times."""
    command = [sys.executable, "-c", FAULTS, *arguments]
    kept, found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(kept), int(found)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_used_again_costs_no_page_faults():
    kept, few = faults("keep")
    assert kept >= 32 << 20
    assert few * 10 < faults()[1]

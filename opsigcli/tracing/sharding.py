"""Which part of the work this process does, when several share it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from opsigcli.errors import UsageError

# Rank and number of workers as launchers announce them; the first pair that is there counts.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; sbatch alone starts one process
)


@dataclass(frozen=True)
class Sharding:
    """Worker ``index`` (from 0) of ``count``."""

    index: int
    count: int

    def units(self, total: int) -> range:
        """The units of this worker: neighbours, as equal in number as can be."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def find_sharding(given: str | None, environment: Mapping[str, str] = os.environ) -> Sharding | None:
    """The sharding that ``--shard i/n`` (i from 1) or a launcher's variables name; None for a single process.

    Raises:
        UsageError: it is no i/n with 1 <= i <= n.
    """
    if given is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", given)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"expected --shard i/n with i from 1 to n, found {given!r}", "for example: --shard 1/4"
            )
        return Sharding(int(match[1]) - 1, int(match[2]))
    for rank, size in LAUNCHERS:
        if environment.get(rank, "").isdigit() and environment.get(size, "").isdigit():
            first = int(environment.get("SLURM_ARRAY_TASK_MIN", 0)) if "ARRAY" in rank else 0
            index, count = int(environment[rank]) - first, int(environment[size])
            return Sharding(index, count) if 0 <= index < count and count > 1 else None
    return None

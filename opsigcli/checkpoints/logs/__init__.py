"""Logs that training programs write beside their checkpoints, read as rows of named numbers.

``LOGS`` says by which name each kind of log goes. A reader yields rows, what one call of a logger wrote, and raises
``BrokenLog`` at the first byte that is not of its format: what came before it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.logs import event_file, tables, wandb_file

Row = Mapping[str, Any]
Reader = Callable[[Path], Iterable[Row]]

LOGS: dict[str, Reader] = {  # pattern of a file's name -> its reader
    "trainer_state.json": tables.trainer_state,
    "*.csv": tables.csv_rows,
    "*.jsonl": tables.json_lines,
    "*tfevents*": event_file.scalars,
    "run-*.wandb": wandb_file.history,
}


def reader_of(path: Path) -> Reader | None:
    """What reads a file of this name; None where it is no log."""
    return next((reader for pattern, reader in LOGS.items() if fnmatch(path.name, pattern)), None)

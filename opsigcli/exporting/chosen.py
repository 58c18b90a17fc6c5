"""Which checkpoints and which examples of a trace are exported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opsigcli.command_line import command
from opsigcli.errors import UsageError
from opsigcli.runs.example_ids import read_ids
from opsigcli.token_ids import id_number

if TYPE_CHECKING:
    from opsigcli.records import LossTrace


def chosen_rows(steps: NDArray[np.int64], text: str | None) -> slice:
    """Rows of the checkpoints from step A to step B, every C-th of them; ends that are left out are open.

    Args:
        steps: (T,) increasing.
        text: ``A:B:C``, ``A:B`` or one step; None is all.

    Raises:
        UsageError: it is none of these, or no checkpoint is in the range.
    """
    if text is None:
        return slice(0, len(steps), 1)
    match = re.fullmatch(r"(\d{0,18}):(\d{0,18})(?::(\d{0,18}))?|(\d{1,18})", text.strip())
    if match is None or match[3] == "0" * len(match[3] or "x"):
        raise UsageError(
            f"expected steps as FIRST:LAST:EVERY, found {text!r}",
            "examples: --steps 100:200, --steps 100::10, --steps 300",
        )
    first, last = (match[4], match[4]) if match[4] else (match[1], match[2])
    start = int(np.searchsorted(steps, int(first))) if first else 0
    stop = int(np.searchsorted(steps, int(last), side="right")) if last else len(steps)
    if start >= stop:
        raise UsageError(
            f"expected a checkpoint among steps {text}, found none; the trace has {len(steps)}, "
            f"from step {steps[0]} to step {steps[-1]}",
            f"example: --steps {steps[0]}:{steps[-1]}",
        )
    return slice(start, stop, int(match[3] or 1))


def chosen_positions(trace: LossTrace, text: str | None, store: Path) -> NDArray[np.int64] | None:
    """Columns (n,) of the examples that are asked for, in the order of the trace; None is all.

    Args:
        trace: the loss trace.
        text: ids with commas between them, or the path of a file of ids, as ``opsig mine --export`` writes it.
        store: that the trace is of, for the command that lists its ids.

    Raises:
        UsageError: it is neither, or the trace has no such example.
    """
    if text is None:
        return None
    ids = _ids(text)
    missing = np.setdiff1d(ids, trace.example_ids)
    if len(missing):
        raise UsageError(
            f"expected examples of the trace, found {trace.naming.id(int(missing[0]))}, which is not one of its "
            f"{len(trace.example_ids)}",
            f"look at the ids with: {command('export', Path('examples'), store=store)}",
        )
    return np.sort(trace.positions(np.unique(ids)))


def _ids(text: str) -> NDArray[np.int64]:
    try:
        return np.array([id_number(word) for word in text.split(",")], dtype=np.int64)
    except (ValueError, OverflowError):
        return read_ids(Path(text))

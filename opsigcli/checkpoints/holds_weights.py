"""Whether a file holds weights, where scripts part them from the rest: ``model.pt``, ``optim.pt``, ``sched.pt``."""

from __future__ import annotations

from pathlib import Path

from opsigcli.checkpoints.base import NotWeights
from opsigcli.checkpoints.formats import recognise
from opsigcli.errors import CheckpointError


def holds_weights(path: Path) -> bool:
    """Whether a file in a checkpoint format has weights by name; also of one that cannot be read, which may have.

    Args:
        path: a file, or a folder that is one checkpoint.
    """
    try:
        reader = recognise(path)
        if reader is None:
            return False
        reader.describe(path)
    except NotWeights:
        return False
    except (CheckpointError, OSError):
        return True
    return True

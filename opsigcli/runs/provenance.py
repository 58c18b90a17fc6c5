"""How a result came to be, for the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli import __version__
from opsigcli.records import Provenance

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective


def provenance(
    command: str, options: Any, objective: Objective | None, *, seed: int = 0, precision: str = "float32"
) -> Provenance:
    """What a command was called with, and by which versions on which device it was computed.

    Args:
        command: its name.
        options: all of them, a dataclass.
        objective: None where nothing had to be computed.
        seed: of the command.
        precision: float32, float64, bf16 or tf32.
    """
    from opsigcli.outcome import plain

    chosen = {name: str(v) if isinstance(v, Path) else plain(v) for name, v in vars(options).items()}
    return Provenance(
        command=command,
        options=chosen,
        opsig_version=__version__,
        torch_version=getattr(sys.modules.get("torch"), "__version__", ""),  # nothing is computed without it
        device=str(objective.device) if objective else "",
        seed=seed,
        dtype=precision,
    )

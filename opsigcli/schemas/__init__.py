"""JSON Schemas of what every command prints under ``--json``; the files ship with the package.

``answers`` holds what commands put into ``result``, beside the records that are in it; ``build`` makes the schemas of
these types and of the comments on their fields; ``python -m opsigcli.schemas.build`` writes them. Within a version keys
are added and none is taken away or changes its meaning.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opsigcli.registry import unknown

FOLDER = Path(__file__).parent
ENDING = ".schema.json"


def names() -> list[str]:
    """What schemas there are, without ``opsig/``."""
    return sorted(path.name.removesuffix(ENDING) for path in FOLDER.glob(f"*{ENDING}"))


def text_of(name: str) -> str:
    """The schema of a name, with or without ``opsig/``, as it ships.

    Raises:
        UsageError: there is none of that name; the error lists the closest ones.
    """
    short = name.removeprefix("opsig/")
    if short not in names():
        raise unknown("schema", name, names())
    return (FOLDER / f"{short}{ENDING}").read_text(encoding="utf-8")


def schema_of(name: str) -> dict[str, Any]:
    """The same, read.

    Raises:
        UsageError: as ``text_of``.
    """
    found: dict[str, Any] = json.loads(text_of(name))
    return found

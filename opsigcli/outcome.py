"""What a command returns: data for --json, records for the renderers, words, and an exit code."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from opsigcli import __version__
from opsigcli.errors import ExitCode, OpsigError
from opsigcli.mining_records import (
    GroupKey,
)
from opsigcli.printable import escaped

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """The result of one command. It prints nothing and ends nothing."""

    schema: str  # "opsig/mine"
    inputs: dict[str, Any]
    result: dict[str, Any]  # JSON-able after ``plain``
    messages: tuple[str, ...] = ()  # lines for a person, on stderr
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()  # gates that tripped, a line each, on stderr
    exit_code: ExitCode = ExitCode.OK
    document: str = ""  # text for stdout as it is, in place of the view
    view: Any = field(default=None, compare=False)  # the record a terminal renderer shows

    def to_json(self) -> str:
        """The one object that --json prints."""
        return _dump(
            {
                "schema": self.schema,
                "schema_version": SCHEMA_VERSION,
                "opsig_version": __version__,
                "inputs": self.inputs,
                "result": self.result,
                "warnings": list(self.warnings),
            }
        )


def error_json(schema: str, error: OpsigError) -> str:
    """An error as the one object that --json prints."""
    return _dump(
        {
            "schema": schema,
            "schema_version": SCHEMA_VERSION,
            "opsig_version": __version__,
            "error": {
                "code": int(error.exit_code),
                "kind": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
            },
        }
    )


def plain(value: Any) -> Any:
    """``value`` as JSON knows it: records become objects, group keys text, arrays lists, NaN and infinity null."""
    if isinstance(value, GroupKey):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _dump(value: Any) -> str:
    return escaped(json.dumps(plain(value), indent=2, ensure_ascii=False))

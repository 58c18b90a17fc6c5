"""Logs of text: CSV, JSON lines, and the log of the Hugging Face Trainer's state."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.logs.broken import BrokenLog
from opsigcli.files import read_file

LARGEST = 64 << 20  # bytes of a log that are read


def csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """A row per line, by the names in the first one.

    Raises:
        BrokenLog: the file is larger than 64 MiB, or no text.
    """
    try:
        yield from csv.DictReader(io.StringIO(_text(path), newline=""))
    except csv.Error as error:
        raise BrokenLog(f"it is no CSV: {error}") from error


def json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """A row per line that is an object, those within it by ``outer/inner``.

    Raises:
        BrokenLog: a line is no JSON, or the file is larger than 64 MiB, or no text.
    """
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            row = _json(line, f"line {number}")
            if isinstance(row, dict):
                yield flat(row)


def trainer_state(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of ``log_history``.

    Raises:
        BrokenLog: the file is no JSON, or larger than 64 MiB, or no text.
    """
    state = _json(_text(path), "it")
    history = state.get("log_history") if isinstance(state, dict) else None
    yield from (row for row in (history if isinstance(history, list) else []) if isinstance(row, dict))


def flat(row: Mapping[str, Any], prefix: str = "", depth: int = 4) -> dict[str, Any]:
    """``row`` with the entries of objects within it under ``outer/inner``, down to four levels."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping) and depth:
            found |= flat(value, f"{prefix}{key}/", depth - 1)
        else:
            found[f"{prefix}{key}"] = value
    return found


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise BrokenLog(f"it is larger than {LARGEST >> 20} MiB")
    try:
        return read_file(path, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenLog("it is no text") from error


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenLog(f"{what} is no JSON") from error

"""Mined groups as files for other tools."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opsigcli.errors import UsageError
from opsigcli.records import LossTrace, Mining
from opsigcli.store.units import write_file

COLUMNS = ("pair", "side", "id", "label", "name", "verdict")
FORMATS = (".csv", ".jsonl")


def require_format(path: Path) -> None:
    """Refuse a file name whose ending names no format.

    Raises:
        UsageError: the ending is not known.
    """
    if path.suffix not in FORMATS:
        raise UsageError(
            f"expected --export FILE to end in {' or '.join(FORMATS)}, found {path.name!r}",
            f"for example --export {path.stem or 'groups'}.csv",
        )


def export_groups(path: Path, mining: Mining, trace: LossTrace, classes: tuple[str, ...]) -> int:
    """Write one row per member of a group, in the order of the pairs; returns the number of rows.

    Columns: pair (from 1), side (first or second), id, label (class name, or index), name (relative path, where
    examples have one), verdict on the pair.

    Raises:
        UsageError: the ending of ``path`` is not known.
        StoreError: the file cannot be written.
    """
    require_format(path)
    rows = list(_rows(mining, trace, classes))
    text = io.StringIO(newline="")
    if path.suffix == ".csv":
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_file(path, lambda file: file.write(text.getvalue().encode()))
    return len(rows)


def _rows(mining: Mining, trace: LossTrace, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    position = {int(i): place for place, i in enumerate(trace.example_ids)}
    for number, pair in enumerate(mining.pairs, 1):
        for side, group in (("first", pair.first), ("second", pair.second)):
            for example in map(int, group.ids):
                label = int(trace.labels[position[example]])
                yield {
                    "pair": number,
                    "side": side,
                    "id": example,
                    "label": classes[label] if label < len(classes) else label,
                    "name": trace.names[position[example]] if trace.names else "",
                    "verdict": pair.verdict,
                }

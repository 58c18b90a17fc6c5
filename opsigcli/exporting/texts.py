"""Tables as text: CSV, and an object per line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from opsigcli.exporting.table import Column, Table

NUMBER = "%.9g"  # the fewest digits that give every float32 back
_MISSING = re.compile(r"nan")
_NOT_FINITE = re.compile(r"nan|-?inf")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet takes for the beginning of a formula


def cell(text: str) -> str:
    """A text as a cell of CSV: an apostrophe goes before what a spreadsheet would run as a formula.

    Reference: OWASP, CSV Injection. Quoting alone does not help, as spreadsheets take the quotes away first.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_line(values: Iterable[Any]) -> str:
    """Values with commas between them: text is escaped by ``cell``, and None is empty. The line is not ended."""
    text = io.StringIO(newline="")
    # Both characters are in the terminator, as csv quotes line breaks that are.
    csv.writer(text, lineterminator="\r\n").writerow(map(_written, values))
    return text.getvalue().removesuffix("\r\n")


def _written(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()  # as JSON has it
    return cell(value) if isinstance(value, str) else value


def write_csv(table: Table, file: BinaryIO) -> None:
    """A line of names, then a line per row; numbers that are missing are empty."""
    file.write(f"{csv_line(table.names)}\n".encode())
    form = "".join([f",{NUMBER}"] * len(table.grid.names)) if table.grid else ""
    for heads, numbers in _rows(table):
        lines = [
            f"{csv_line(head)}{_MISSING.sub('', form % tuple(row))}\n"
            for head, row in zip(zip(*heads, strict=True), numbers, strict=True)
        ]
        file.write("".join(lines).encode())


def write_jsonl(table: Table, file: BinaryIO) -> None:
    """An object per row, all with the same keys; numbers that are missing or not finite are null."""
    names = [column.name for column in table.columns]
    grid = table.grid.names if table.grid else ()
    form = "".join(f", {json.dumps(name, ensure_ascii=False).replace('%', '%%')}: {NUMBER}" for name in grid)
    for heads, numbers in _rows(table):
        lines = []
        for head, row in zip(zip(*heads, strict=True), numbers, strict=True):
            known = [None if isinstance(v, float) and not np.isfinite(v) else v for v in head]
            start = json.dumps(dict(zip(names, known, strict=True)), ensure_ascii=False)
            lines.append(f"{start[:-1]}{_with_null(form % tuple(row))}}}\n" if form else f"{start}\n")
        file.write("".join(lines).encode())


def _with_null(text: str) -> str:
    return re.sub(r": (nan|-?inf)", ": null", text) if _NOT_FINITE.search(text) else text


def _rows(table: Table) -> Iterator[tuple[list[list[Any]], list[list[float]]]]:
    """Of every block: the columns as lists of plain values, and the rows of the grid."""
    for start, stop in table.blocks():
        heads = [_plain(column, start, stop) for column in table.columns]
        grid = table.grid
        numbers = grid.read(start, stop).T.tolist() if grid else [[]] * (stop - start)
        yield heads, numbers


def _plain(column: Column, start: int, stop: int) -> list[Any]:
    values = column.read(start, stop)
    if isinstance(values, list):
        return values
    if values.dtype.kind != "f":
        found: list[Any] = values.tolist()
        return found
    digits = 9 if column.kind == "float32" else 17
    return [None if np.isnan(v) else float(f"{v:.{digits}g}") for v in values.tolist()]

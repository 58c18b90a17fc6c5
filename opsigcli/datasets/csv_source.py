"""``csv:FILE``: a table of picture files and labels, or of numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.columns import OPTIONS, Table, of_columns
from opsigcli.errors import DatasetError
from opsigcli.files import open_file
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path


def open_csv(spec: Spec) -> Source:
    """Open ``csv:FILE?image=COLUMN&label=COLUMN&root=DIR``, or ``csv:FILE?label=COLUMN&columns=a,b`` of numbers.

    Columns have commas, semicolons or tabs between them, as the header does.

    ``image`` names the column of file names, which lie in ``root`` (the table's own folder, if it is not given), with
    ``ext=.jpg`` where the table leaves that out. Without a column of pictures the other columns are the inputs, all
    numbers. Labels are whole numbers, or names, which are numbered in their sorted order (``classes=`` gives another);
    other numbers are targets of regression. Several columns, ``label=a,b``, are several targets.

    Raises:
        DatasetError: the table cannot be read, is ragged, or holds other values; a picture is not there.
        UsageError: an option is unknown, or names no column.
    """
    path = Path(absolute_path(spec.name))
    settings = Settings.of(spec.only("mode", *OPTIONS, *COMMON), mode="RGB")
    return of_columns(spec, path, Table(_read(path), first=2), settings)


def _read(path: Path) -> dict[str, list[str]]:
    """The columns of the table by name.

    Raises:
        DatasetError: there is no such file, or it is no table.
    """
    try:
        with open_file(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=_between(first)) if row]
    except FileNotFoundError:
        raise DatasetError(
            f"expected a table at {path}; there is none", "check the path after 'csv:'"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(f"expected a table of text in UTF-8, cannot read {path}: {problem}") from problem
    if len(rows) < 2:
        raise DatasetError(
            f"expected a line of column names and rows below it in {path}; found {len(rows)} lines"
        )
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise DatasetError(f"expected a name of its own for each column of {path}; found {', '.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DatasetError(
                f"expected {len(header)} values in every row of {path}; row {number} has {len(row)}",
                "put values that hold what is between columns (commas, semicolons or tabs) between quotes",
            )
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(header)}


def _between(header: str) -> str:
    """What stands between the columns: the one of comma, semicolon and tab that parts the header into most."""
    return max(",;\t", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))

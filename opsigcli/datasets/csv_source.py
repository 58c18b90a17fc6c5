"""``csv:FILE``: a table of picture files and labels, or of numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.folder import EXTENSIONS
from opsigcli.datasets.listing import listing_of
from opsigcli.datasets.readers import FileReader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.files import open_file
from opsigcli.registry import nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPTIONS = ("image", "label", "root", "ext", "columns")
LABELS = ("label", "labels", "target", "class", "y", "category")
VOID = (-1, IGNORED)  # labels that say to ignore a row
IMAGES = ("image", "file_name", "filename", "file", "path", "filepath", "image_path", "image_id")


def open_csv(spec: Spec) -> Source:
    """Open ``csv:FILE?image=COLUMN&label=COLUMN&root=DIR``, or ``csv:FILE?label=COLUMN&columns=a,b`` of numbers.

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
    table = _read(path)
    label = _columns(spec, "label", table, LABELS)
    image = _columns(spec, "image", table, IMAGES, optional="columns" in spec.options)
    y, classes = _targets([table[name] for name in label], str(path))
    listing = listing_of(y, str(path), classes=classes)
    if not image:
        inputs = _columns(spec, "columns", table, ()) or [name for name in table if name not in label]
        settings = replace(settings, pictures=replace(settings.pictures, mode=None))
        x = np.stack([_numbers(table[name], name, str(path)) for name in inputs], axis=1)
        return Source(
            replace(spec, name=str(path)), listing, array_reader(x, str(path), settings.pictures), settings
        )
    root = Path(absolute_path(str(spec.options.get("root", path.parent))))
    names = [f"{name}{spec.options.get('ext', '')}" for name in table[image[0]]]
    _require_first(root, names[0], spec)
    given = {"root": str(root)} if "root" in spec.options else {}
    reader = FileReader([str(root / name) for name in names], names, settings.pictures)
    whole = replace(spec, name=str(path), options=spec.options | given)
    return Source(whole, replace(listing, names=tuple(names)), reader, settings)


def _read(path: Path) -> dict[str, list[str]]:
    """The columns of the table by name.

    Raises:
        DatasetError: there is no such file, or it is no table.
    """
    try:
        with open_file(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",") if row]
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
                "put values with commas between quotes",
            )
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(header)}


def _columns(
    spec: Spec, option: str, table: dict[str, list[str]], usual: tuple[str, ...], *, optional: bool = False
) -> list[str]:
    """The columns that an option names; without it, the one with a usual name.

    Raises:
        UsageError: there is no such column, or several have usual names.
    """
    asked = spec.options.get(option)
    if asked is not None:
        found = [str(name) for name in (asked if isinstance(asked, list) else [asked])]
        for name in found:
            if name not in table:
                close = nearest(name, list(table))
                raise UsageError(
                    f"in {str(spec)!r}: there is no column {name!r}; there are {', '.join(table)}",
                    f"did you mean {option}={close[0]}?" if close else f"change {option}=…",
                )
        return found
    fitting = [name for name in table if name.lower() in usual]
    if len(fitting) == 1 or optional or option == "columns" or (option == "image" and not fitting):
        return fitting[:1] if not optional else []
    raise UsageError(
        f"in {str(spec)!r}: expected one column that is the {option}; "
        f"{'found ' + ', '.join(fitting) if fitting else 'there are ' + ', '.join(table)}",
        f"add {option}=COLUMN",
    )


def _targets(columns: Sequence[list[str]], where: str) -> tuple[NDArray[Any], list[str]]:
    """Labels (N,) and their names, or numbers (N,) or (N, K).

    Raises:
        DatasetError: a row has no label, or one of several targets is no number.
    """
    if len(columns) > 1:
        each = [_numbers(column, "a target", where) for column in columns]
        stacked = np.stack(each, axis=1)
        whole = bool((stacked == stacked.round()).all())
        return stacked.astype(np.int64 if whole else np.float32), []
    texts = columns[0]
    if "" in texts:
        raise DatasetError(f"expected a label in every row of {where}; row {texts.index('') + 2} has none")
    try:
        values = np.array([float(text) for text in texts])
        # A column with gaps is written with 1.0 for 1; under a loss of numbers a label of one output is that number.
        whole = (values == values.round()) & ((values >= 0) | np.isin(values, VOID))
        return values.astype(np.int64 if whole.all() else np.float32), []
    except ValueError:
        names = sorted(set(texts))
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[text] for text in texts], dtype=np.int64), names


def _numbers(column: list[str], name: str, where: str) -> NDArray[np.float32]:
    """A column (N,) of numbers.

    Raises:
        DatasetError: a value is none.
    """
    for row, text in enumerate(column, start=2):
        try:
            float(text)
        except ValueError:
            raise DatasetError(
                f"expected numbers in the column {name!r} of {where}; row {row} has {text!r}",
                "name the columns that are inputs: columns=a,b; and the one with file names of pictures: image=COLUMN",
            ) from None
    return np.array([float(text) for text in column], dtype=np.float32)


def _require_first(root: Path, name: str, spec: Spec) -> None:
    """Refuse file names of which the first is not there, and say where it is.

    Raises:
        DatasetError: it is not there.
    """
    if (root / name).is_file():
        return
    endings = [end for end in EXTENSIONS if (root / f"{name}{end}").is_file()]
    folders = [one.name for one in sorted(root.iterdir()) if (one / name).is_file()] if root.is_dir() else []
    raise DatasetError(
        f"expected a picture at {root / name}; it is not there",
        f"add ext={endings[0]} to --data"
        if endings
        else f"add root={root / folders[0]} to --data"
        if folders
        else f"let root= name the folder of the pictures that {spec.name} lists",
    )

"""Tables whose rows are examples: a column that names picture files, or columns of numbers, and columns of targets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.folder import EXTENSIONS
from opsigcli.datasets.listing import listing_of
from opsigcli.datasets.readers import FileReader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.registry import nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPTIONS = ("image", "label", "root", "ext", "columns")
LABELS = ("label", "labels", "target", "class", "y", "category")
VOID = (-1, IGNORED)  # labels that say to ignore a row
IMAGES = ("image", "file_name", "filename", "file", "path", "filepath", "image_path", "image_id")

Column = Sequence[Any]  # of texts, numbers, or nothing where a row has none


@dataclass(frozen=True)
class Table:
    """Columns by name."""

    columns: Mapping[str, Column]
    first: int = 0  # number of the first row, for messages
    classes: Mapping[str, Sequence[str]] | None = None  # names of a column's whole numbers


def of_columns(spec: Spec, path: Path, table: Table, settings: Settings) -> Source:
    """The source that a table holds; what the options mean stands at ``csv_source.open_csv``.

    Args:
        spec: as given.
        path: of the table.
        table: its columns.
        settings: of every source.

    Raises:
        DatasetError: a column holds other values, or a picture is not there.
        UsageError: an option names no column.
    """
    columns = table.columns
    label = column_names(spec, "label", list(columns), LABELS)
    image = column_names(spec, "image", list(columns), IMAGES, optional="columns" in spec.options)
    named = (table.classes or {}).get(label[0], ()) if len(label) == 1 else ()
    y, classes = _targets(table, label, str(path))
    listing = listing_of(y, str(path), classes=named or classes)
    if not image:
        inputs = column_names(spec, "columns", list(columns), ()) or [
            name for name in columns if name not in label
        ]
        settings = replace(settings, pictures=replace(settings.pictures, mode=None))
        x = np.stack([_numbers(table, name, str(path)) for name in inputs], axis=1)
        return Source(
            replace(spec, name=str(path)), listing, array_reader(x, str(path), settings.pictures), settings
        )
    root = Path(absolute_path(str(spec.options.get("root", path if path.is_dir() else path.parent))))
    names = [f"{name}{spec.options.get('ext', '')}" for name in columns[image[0]]]
    _require_first(root, names[0], spec)
    given = {"root": str(root)} if "root" in spec.options else {}
    reader = FileReader([str(root / name) for name in names], names, settings.pictures)
    whole = replace(spec, name=str(path), options=spec.options | given)
    return Source(whole, replace(listing, names=tuple(names)), reader, settings)


def column_names(
    spec: Spec, option: str, columns: Sequence[str], usual: tuple[str, ...], *, optional: bool = False
) -> list[str]:
    """The columns that an option names; without it, the one with a usual name.

    Raises:
        UsageError: there is no such column, or several have usual names.
    """
    asked = spec.options.get(option)
    if asked is not None:
        found = [str(name) for name in (asked if isinstance(asked, list) else [asked])]
        for name in found:
            if name not in columns:
                close = nearest(name, columns)
                raise UsageError(
                    f"in {str(spec)!r}: there is no column {name!r}; there are {', '.join(columns)}",
                    f"did you mean {option}={close[0]}?" if close else f"change {option}=…",
                )
        return found
    fitting = [name for name in columns if name.lower() in usual]
    if len(fitting) == 1 or optional or option == "columns" or (option == "image" and not fitting):
        return fitting[:1] if not optional else []
    raise UsageError(
        f"in {str(spec)!r}: expected one column that is the {option}; "
        f"{'found ' + ', '.join(fitting) if fitting else 'there are ' + ', '.join(columns)}",
        f"add {option}=COLUMN",
    )


def _targets(table: Table, label: Sequence[str], where: str) -> tuple[NDArray[Any], list[str]]:
    """Labels (N,) and their names, or numbers (N,) or (N, K).

    Raises:
        DatasetError: a row has no label, or one of several targets is no number.
    """
    if len(label) > 1:
        stacked = np.stack([_numbers(table, name, where) for name in label], axis=1)
        whole = bool((stacked == stacked.round()).all())
        return stacked.astype(np.int64 if whole else np.float32), []
    column = table.columns[label[0]]
    for row, value in enumerate(column, start=table.first):
        if value is None or value == "":
            raise DatasetError(f"expected a label in every row of {where}; row {row} has none")
    try:
        values = np.array([float(value) for value in column])
        # A column with gaps is written with 1.0 for 1; under a loss of numbers a label of one output is that number.
        wholes = (values == values.round()) & ((values >= 0) | np.isin(values, VOID))
        return values.astype(np.int64 if wholes.all() else np.float32), []
    except (TypeError, ValueError):
        texts = [str(value) for value in column]
        names = sorted(set(texts))
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[text] for text in texts], dtype=np.int64), names


def _numbers(table: Table, name: str, where: str) -> NDArray[np.float32]:
    """A column (N,) of numbers.

    Raises:
        DatasetError: a value is none.
    """
    found = np.empty(len(table.columns[name]), dtype=np.float32)
    for place, value in enumerate(table.columns[name]):
        try:
            found[place] = float(value)
        except (TypeError, ValueError):
            absent = value is None or value == ""
            raise DatasetError(
                f"expected numbers in the column {name!r} of {where}; row {place + table.first} has "
                f"{'none' if absent else repr(value)}",
                ("fill in what is missing, or " if absent else "")
                + "name the columns that are inputs: columns=a,b; or the one with names of pictures: image=COLUMN",
            ) from None
    return found


def _require_first(root: Path, name: str, spec: Spec) -> None:
    """Refuse file names of which the first is not there, and say where it is.

    Raises:
        DatasetError: it is not there.
    """

    def there(*parts: str) -> bool:
        return os.path.isfile(root.joinpath(*parts))  # noqa: PTH113  (never raises, however long a name is)

    if there(name):
        return
    endings = [end for end in EXTENSIONS if there(f"{name}{end}")]
    folders = [one.name for one in sorted(root.iterdir()) if there(one.name, name)] if root.is_dir() else []
    raise DatasetError(
        f"expected a picture at {root / name}; it is not there",
        f"add ext={endings[0]} to --data"
        if endings
        else f"add root={root / folders[0]} to --data"
        if folders
        else f"let root= name the folder of the pictures that {spec.name} lists",
    )

"""``parquet:FILE``: a table of pictures or tokens as the hub writes them, of names of picture files, or of numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsigcli.datasets import columns
from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.columns import IMAGES, OPTIONS, Table, column_names, of_columns
from opsigcli.datasets.hf_pairs import BYTES, is_picture
from opsigcli.datasets.hf_source import INPUTS, LABELS, of_pairs
from opsigcli.datasets.hf_table import open_table
from opsigcli.datasets.python_source import split_options
from opsigcli.errors import DatasetError, UsageError
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

_IMAGES = tuple(dict.fromkeys((*IMAGES, *INPUTS)))
_LABELS = tuple(dict.fromkeys((*columns.LABELS, *LABELS)))
_INDEX = re.compile(r"__index_level_\d+__")  # that pandas leaves beside the columns


def open_parquet(spec: Spec) -> Source:
    """Open ``parquet:FILE?image=COLUMN&label=COLUMN``, or ``parquet:FILE?label=COLUMN&columns=a,b`` of numbers.

    A folder is all its files, of which ``split=train`` are some. A column that holds pictures, or lists, is read as
    ``hfds:`` reads it; file names and columns of numbers are read as ``csv:`` reads them.

    Raises:
        DatasetError: there is no such file, the library that reads it is not installed, or the table holds other
            values.
        UsageError: an option is unknown, or names no column.
    """
    path = Path(absolute_path(spec.name))
    ours, theirs = split_options(spec, set())
    theirs.only("split", "pad", *OPTIONS)
    if not path.exists():
        raise DatasetError(f"expected a table at {path}; there is none", "check the path after 'parquet:'")
    table, own = open_table(spec, theirs)
    kinds = {name: feature for name, feature in table.features.items() if not _INDEX.fullmatch(name)}
    image = _image(spec, kinds)
    if image and not _a_value(kinds[image]):
        label = column_names(spec, "label", list(kinds), _LABELS)
        if len(label) > 1:
            raise UsageError(
                f"in {str(spec)!r}: expected one column of labels beside {image!r}, found {len(label)}",
                "give label= one name",
            )
        whole = replace(spec, name=str(path))
        return of_pairs(whole, table, own.resolve(), (image, label[0]), Settings.of(ours))
    plain = table.with_format(None)
    values = {name: plain[name][:] for name, kind in kinds.items() if _a_value(kind)}
    names = {name: tuple(getattr(kinds[name], "names", None) or ()) for name in values}
    return of_columns(spec, path, Table(values, classes=names), Settings.of(ours, mode="RGB"))


def _image(spec: Spec, kinds: dict[str, Any]) -> str | None:
    """The column that is the input; None where several columns of numbers are."""
    if "image" not in spec.options and "columns" not in spec.options:
        pictures = [name for name, kind in kinds.items() if is_picture(kind)]
        if len(pictures) == 1:
            return pictures[0]
    found = column_names(spec, "image", list(kinds), _IMAGES, optional="columns" in spec.options)
    return found[0] if found else None


def _a_value(kind: Any) -> bool:
    """Whether a column has one text or number in each row."""
    return type(kind).__name__ in ("Value", "ClassLabel") and kind.dtype not in BYTES
